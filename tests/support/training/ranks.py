"""Run a script on several processes under torchrun."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT


def run_on_ranks(script: str, count: int, path: Path) -> None:
    """Write `script` to `path` and run it on `count` processes; fail with what they print on stderr."""
    path.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
