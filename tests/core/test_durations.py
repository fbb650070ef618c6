"""Durations as text: in progress lines, tables and warnings."""

from __future__ import annotations

import pytest

from codetr.core.durations import describe_duration, format_duration

pytestmark = pytest.mark.fast


def test_durations_are_read_as_clocks() -> None:
    assert format_duration(3 * 3600 + 5 * 60 + 7.4) == "3:05:07"


def test_durations_are_described_in_a_unit_that_fits() -> None:
    found = [describe_duration(seconds) for seconds in (1.4, 119, 120, 7199, 7200, 86400, 172800)]
    assert found == ["1 second", "119 seconds", "2 minutes", "120 minutes", "2 hours", "24 hours", "2 days"]
