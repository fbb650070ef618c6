"""The identity of a job: the same job finds itself again, another one does not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.launch.job import Job
from tests.support.launch.specs import cluster, job


def test_the_same_job_has_the_same_name_in_another_process() -> None:
    """The digest is written down here: it must not depend on the hashes of a process."""
    assert job().name == job().name
    assert job().digest == Job("Nightly run 7", ("train",), "/data/model", cluster(nodes=2)).digest


@pytest.mark.parametrize(
    "other",
    [
        job(run="Nightly run 8"),
        job(arguments=("train", "--overwrite")),
        job(cluster(nodes=3)),
        Job("Nightly run 7", ("train",), "/data/model", cluster(), inputs=(("dataset", "sha256:1"),)),
    ],
    ids=["run", "arguments", "nodes", "inputs"],
)
def test_another_computation_is_another_job(other: Job) -> None:
    """The checkpoints of one must not become the result of the other."""
    assert other.digest != job().digest
    assert other.name != job().name


def test_more_patience_is_the_same_job() -> None:
    """Raising the budget of a running job must not start a second one beside it."""
    patient = cluster(budget={"restarts": 9, "hours": 1, "queue_hours": 1}, queue="night", grace_seconds=60)
    assert job(patient).digest == job().digest


@given(st.text(max_size=80))
def test_every_run_gives_a_name_that_kubernetes_accepts(run: str) -> None:
    name = job(run=run).attempt_name(100)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    # JobSet and Job append "-node-0-0-xxxxx".
    assert len(name) + len("-node-0-1023-xxxxx") <= 63
