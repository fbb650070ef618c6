"""Run jobs on Slurm. What an attempt leaves behind lies in a folder beside the job's output, which all nodes see.

Slurm forgets a job minutes after its end unless the site keeps accounts, so the script writes exit codes to files.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codetr.core.errors import UserError
from codetr.core.files import read_json, write_json, write_text
from codetr.launch.endings import REASONS_OF_SLURM
from codetr.launch.job import Job
from codetr.launch.slurm import commands
from codetr.launch.slurm.commands import SlurmJob
from codetr.launch.slurm.script import CLAIM, ENDED, EXIT, LOG, batch_options, batch_script
from codetr.launch.state import AttemptState, Phase, ProcessEnd

RECORD = "job.json"
"""File in the folder of an attempt: what it runs, and when it was submitted."""
LOG_LINES = 50
"""How many of the last lines the end of an attempt keeps."""

_RUNS = frozenset({"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED"})
_ENDED = frozenset(
    {"COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "BOOT_FAIL", "DEADLINE"}
)
_CANCELLED = frozenset({"CANCELLED", "REVOKED"})


class SlurmLauncher:
    """Runs attempts as batch jobs; see `codetr.launch.launcher.Launcher`."""

    def __init__(self) -> None:
        self._shown: dict[Path, int] = {}

    def attempts(self, job: Job) -> int:
        """Return how many attempts have a folder."""
        numbers = [
            int(number)
            for path in attempts_folder(job).glob(f"{job.name}-*/{RECORD}")
            if (number := path.parent.name.removeprefix(f"{job.name}-")).isdecimal()
        ]
        return max(numbers, default=-1) + 1

    def start(self, job: Job, attempt: int, *, seconds: int) -> None:
        """Submit the attempt, or find it; a folder that another job writes is refused."""
        folder = attempt_folder(job, attempt)
        if self._record(job, attempt) is not None and (self._live(job, attempt) or (folder / ENDED).exists()):
            return
        self._require_free_output(job)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "script.sh", batch_script(job, folder))
        options = batch_options(job, attempt, folder, seconds=seconds)
        record = {"run": job.run, "digest": job.digest, "submitted": time.time(), "options": options}
        write_json(folder / RECORD, record)
        commands.submit(options, folder / "script.sh")

    def state(self, job: Job, attempt: int) -> AttemptState | None:
        """Return what Slurm says of the job, and how its processes ended."""
        record = self._record(job, attempt)
        if record is None:
            return None
        one = self._job(job, attempt)
        age = max(_time_of(attempt_folder(job, attempt) / ENDED) - record["submitted"], 0.0)
        if one is not None and one.state in _CANCELLED:
            return None
        if one is not None and one.state not in _ENDED:
            return _unfinished(one, age)
        return _finished(job, attempt, one, age)

    def log(self, job: Job, attempt: int) -> Iterator[str]:
        """Yield new lines of all nodes, each with the number of the node if there are several."""
        for number in range(job.spec.nodes):
            path = attempt_folder(job, attempt) / LOG.format(number)
            prefix = f"node {number}: " if job.spec.nodes > 1 else ""
            try:
                with path.open("rb") as file:
                    file.seek(self._shown.get(path, 0))
                    text = file.read()
            except OSError:
                continue
            whole = text[: text.rfind(b"\n") + 1]
            self._shown[path] = self._shown.get(path, 0) + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                yield f"{prefix}{line}"

    def heartbeat(self, job: Job, attempt: int) -> None:
        """Do nothing: a job that is not watched ends by its time limit."""

    def cancel(self, job: Job) -> None:
        """Cancel the jobs of all attempts."""
        for attempt in range(self.attempts(job)):
            self._record(job, attempt)
            commands.cancel(self._live(job, attempt))

    def _job(self, job: Job, attempt: int) -> SlurmJob | None:
        """Return the job that runs the attempt, or the one that will."""
        found = commands.jobs_named(job.attempt_name(attempt))
        claim = attempt_folder(job, attempt) / CLAIM
        if claim.is_symlink():
            number = str(claim.readlink())
            return next((one for one in found if one.id == number), None)
        return found[0] if found else None

    def _live(self, job: Job, attempt: int) -> list[SlurmJob]:
        ended = _ENDED | _CANCELLED
        return [one for one in commands.jobs_named(job.attempt_name(attempt)) if one.state not in ended]

    def _record(self, job: Job, attempt: int) -> dict[str, Any] | None:
        path = attempt_folder(job, attempt) / RECORD
        if not path.exists():
            return None
        record = read_json(path)
        if not isinstance(record, dict) or not isinstance(record.get("submitted"), float):
            raise UserError("is no record of a job", where=str(path), hint="Remove its folder.")
        if record.get("digest") != job.digest:
            problem = f"is of another job of this name (digest {record.get('digest')}, not {job.digest})"
            raise UserError(problem, where=str(path), hint="Give the run another name.")
        return record

    def _require_free_output(self, job: Job) -> None:
        """Refuse a job that would write the folder of one that runs: each would take the other's checkpoints away."""
        for path in sorted(attempts_folder(job).glob(f"*/{RECORD}")):
            name = path.parent.name
            if name.rpartition("-")[0] == job.name or (path.parent / ENDED).exists():
                continue
            if any(one.state not in _ENDED | _CANCELLED for one in commands.jobs_named(name)):
                hint = f"Wait for it, `scancel --name={name}`, or give another output."
                raise UserError(f"the job {name}, which runs, writes it", where=job.output, hint=hint)


def attempts_folder(job: Job) -> Path:
    """Return the folder with what the attempts of all jobs with an output leave behind."""
    return Path(f"{job.output}.slurm")


def attempt_folder(job: Job, attempt: int) -> Path:
    """Return the folder of an attempt."""
    return attempts_folder(job) / job.attempt_name(attempt)


def _unfinished(one: SlurmJob, age: float) -> AttemptState:
    if one.state in _RUNS:
        return AttemptState(Phase.RUNNING, age=age)
    if one.reason in REASONS_OF_SLURM:
        end = ProcessEnd(f"job {one.id}", None, one.reason, (f"Slurm will not start it: {one.reason}",))
        return AttemptState(Phase.FAILED, one.reason, age, ends=(end,), stuck=True)
    return AttemptState(Phase.QUEUED, "" if one.reason == "None" else one.reason, age)


def _finished(job: Job, attempt: int, one: SlurmJob | None, age: float) -> AttemptState | None:
    """Return how an attempt ended, from the codes its processes left, and Slurm's word where it remembers the job."""
    code = _number(attempt_folder(job, attempt) / ENDED)
    if code == 0 or (code is None and one is not None and one.state == "COMPLETED"):
        return AttemptState(Phase.SUCCEEDED, age=age)
    if one is not None:
        reason = "" if one.state in ("FAILED", "COMPLETED") else one.state
    elif code is not None:
        reason = ""
    elif (attempt_folder(job, attempt) / CLAIM).is_symlink():
        reason = "Slurm does not know the job any more"
    else:
        return None  # It never ran, and somebody removed it.
    return AttemptState(Phase.FAILED, reason, age, ends=_ends(job, attempt))


def _ends(job: Job, attempt: int) -> tuple[ProcessEnd, ...]:
    """Return the ends of the nodes that failed, the first one first."""
    folder = attempt_folder(job, attempt)
    found = []
    for number in range(job.spec.nodes):
        path = folder / EXIT.format(number)
        code = _number(path)
        if code != 0:
            lines = _last_lines(folder / LOG.format(number))
            # One that could not write its code was killed; what it printed is still there.
            found.append((_time_of(path), ProcessEnd(f"node {number}", code, log=lines)))
    return tuple(end for _, end in sorted(found, key=lambda item: item[0]))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _time_of(path: Path) -> float:
    """Return when a file was written; the present for one that is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _last_lines(path: Path) -> tuple[str, ...]:
    try:
        with path.open(errors="replace") as file:
            return tuple(line.rstrip("\n") for line in deque(file, maxlen=LOG_LINES))
    except OSError:
        return ()
