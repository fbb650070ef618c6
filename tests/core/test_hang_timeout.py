"""How long processes wait for one another."""

from __future__ import annotations

import pytest

from codetr.core.errors import UserError
from codetr.core.hang_timeout import HANG_TIMEOUT, hang_timeout
from codetr.launch.spec import LaunchSpec


def test_the_time_of_a_cluster_reaches_its_processes() -> None:
    spec = LaunchSpec.parse({"launcher": "local", "hang_minutes": 0.5, "environment": {"A": "1"}})
    assert hang_timeout(spec.variables) == 30
    assert hang_timeout(LaunchSpec(launcher="local").variables) == hang_timeout({}) == HANG_TIMEOUT


@pytest.mark.parametrize("text", ["", "0", "-5", "1.5", "1h", "٣"])
def test_another_value_is_refused(text: str) -> None:
    """A timeout of 0 would end every exchange."""
    with pytest.raises(UserError, match=r"CODETR_HANG_TIMEOUT: is '.*', expected a positive whole number of seconds"):
        hang_timeout({"CODETR_HANG_TIMEOUT": text})
