"""Where runs are only submitted there is no PyTorch, and nothing else that computes."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT

HEAVY = {"torch", "torchvision", "numpy", "scipy", "PIL", "pycocotools", "safetensors", "wandb"}


def test_settings_are_checked_and_runs_submitted_without_pytorch() -> None:
    """A machine that submits runs would otherwise need gigabytes of libraries."""
    code = (
        "import sys; from pathlib import Path; from pipelines import arguments, compile, submit; "
        "arguments.step_arguments(Path('params.yaml')); print(*{name.split('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "kfp" in loaded
    assert HEAVY.isdisjoint(loaded)


def test_without_kfp_the_command_says_what_to_install() -> None:
    """The environment of the demo has none; a traceback would not say what to do."""
    hide = (
        "import sys; sys.modules['kfp'] = None; from pipelines.__main__ import main; sys.argv[1:] = ['compile']; main()"
    )
    result = subprocess.run([sys.executable, "-c", hide], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "pipelines need kfp" in result.stderr
    assert "[kubeflow]" in result.stderr
    assert "Traceback" not in result.stderr


def test_related_options_share_a_panel_of_the_help() -> None:
    """Nineteen options in one list cannot be read at a glance."""
    result = subprocess.run(
        [sys.executable, "-m", "pipelines", "submit", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    panels = (
        "Server",
        "Settings of the steps",
        "Run",
        "Resources of training and evaluation",
        "Storage, as the tasks see it",
        "Waiting",
    )
    titles = [line.strip("╭─╮+- ") for line in result.stdout.splitlines()]
    assert [title for title in titles if title in panels] == list(panels)
