"""Ctrl-C in the first seconds is acknowledged."""

from __future__ import annotations

import pytest

from codetr.cli.interrupted import interruption_reported

pytestmark = pytest.mark.fast


def test_an_interruption_before_the_work_is_said_and_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    """The command ended without a word, as if it had crashed."""
    with pytest.raises(KeyboardInterrupt), interruption_reported("training"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "stopped before training began; nothing has changed\n"
