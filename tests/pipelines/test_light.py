"""Where runs are only submitted there is no PyTorch, and nothing else that computes."""

import subprocess
import sys

from tests.support.paths import ROOT

HEAVY = {"torch", "torchvision", "numpy", "scipy", "PIL", "pycocotools", "safetensors", "wandb"}


def test_settings_are_checked_and_runs_submitted_without_pytorch() -> None:
    code = (
        "import sys; from pathlib import Path; from pipelines import package, submit, values; "
        "values.step_settings(Path('params.yaml')); print(*{name.split('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code]
    root = ROOT
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "kfp" in loaded
    assert HEAVY.isdisjoint(loaded)


def test_without_kfp_the_command_says_what_to_install() -> None:
    """The environment of the demo has none; a traceback would not tell what to do."""
    hide = (
        "import sys; sys.modules['kfp'] = None; from pipelines.__main__ import main; sys.argv[1:] = ['compile']; main()"
    )
    root = ROOT
    result = subprocess.run([sys.executable, "-c", hide], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "pipelines need kfp" in result.stderr
    assert "[kubeflow]" in result.stderr
    assert "Traceback" not in result.stderr
