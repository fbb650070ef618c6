"""The variables that describe the nodes of a run; a wrong one must not start several runs beside each other."""

from __future__ import annotations

import pytest

from codetr.core.errors import UserError
from codetr.distributed.nodes import ONE_NODE, Nodes

TWO = {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "job-node-0-0.job", "PET_MASTER_PORT": "29400"}


def test_without_variables_this_machine_is_alone() -> None:
    assert Nodes.of_environment({}) is ONE_NODE
    assert Nodes.of_environment({"PET_NNODES": "1"}) is ONE_NODE


def test_the_variables_of_kubeflow_trainer() -> None:
    assert Nodes.of_environment(TWO) == Nodes(2, 1, "job-node-0-0.job", 29400)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PET_NNODES", "two"),
        ("PET_NNODES", "0"),
        ("PET_NNODES", "1:4"),
        ("PET_NODE_RANK", "2"),
        ("PET_NODE_RANK", ""),
        ("PET_MASTER_ADDR", ""),
        ("PET_MASTER_PORT", "0"),
        ("PET_MASTER_PORT", "70000"),
        ("PET_MASTER_PORT", "²"),
    ],
)
def test_impossible_values_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(UserError, match=name):
        Nodes.of_environment({**TWO, name: value})
