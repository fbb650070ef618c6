"""Stand-ins for the three programs of Slurm that are used, with their jobs in a file that a test changes.

`tests/cluster/test_slurm.py` uses the real ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_PROGRAM = """#!{python}
import json, pathlib, sys
sys.argv[0] = pathlib.Path(sys.argv[0]).name
program, *arguments = sys.argv
path = pathlib.Path({path!r})
state = json.loads(path.read_text())
if state["error"]:
    sys.exit(f"{{program}}: error: {{state['error']}}")
options = dict(word.removeprefix("--").partition("=")[::2] for word in arguments)
if program == "sbatch":
    state["jobs"].append([str(len(state["jobs"]) + 1), options["job-name"], "PENDING", "None", arguments])
if program == "scancel":
    for job in state["jobs"]:
        if job[0] in arguments:
            job[2] = "CANCELLED"
if program == "squeue":
    for number, name, word, reason, _ in state["jobs"]:
        if name == options["name"]:
            print(f"{{number}}|{{word}}|{{reason}}")
path.write_text(json.dumps(state))
"""


class SlurmPrograms:
    """Programs in a folder, and what they answer."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._path = folder / "bin", folder / "jobs.json"
        self.folder.mkdir()
        for name in ("sbatch", "squeue", "scancel"):
            program = self.folder / name
            program.write_text(_PROGRAM.format(python=sys.executable, path=str(self._path)))
            program.chmod(0o755)
        self._write({"jobs": [], "error": ""})

    @property
    def states(self) -> list[str]:
        """The state of every job, in order of submission."""
        return [job[2] for job in self._read()["jobs"]]

    def options(self, number: int) -> list[str]:
        """What the job with a number, from 1, was submitted with."""
        options: list[str] = self._read()["jobs"][number - 1][4]
        return options

    def set(self, state: str, reason: str = "None", *, number: int = 1) -> None:
        """Change the state of a job."""
        content = self._read()
        content["jobs"][number - 1][2:4] = [state, reason]
        self._write(content)

    def forget(self) -> None:
        """Forget all jobs, as Slurm does some minutes after their end."""
        self._write({**self._read(), "jobs": []})

    def fail(self, error: str) -> None:
        """Answer with an error from now on; "" ends it."""
        self._write({**self._read(), "error": error})

    def _read(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._path.read_text())
        return content

    def _write(self, content: object) -> None:
        self._path.write_text(json.dumps(content))
