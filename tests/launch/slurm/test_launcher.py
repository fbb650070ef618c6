"""Jobs on Slurm: submitted once, found again, and their end known also when Slurm has forgotten them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import RunFailed, UserError
from codetr.launch.endings import Cause, Reaction, classify
from codetr.launch.job import Job
from codetr.launch.slurm.launcher import SlurmLauncher, attempt_folder
from codetr.launch.spec import LaunchSpec
from codetr.launch.state import AttemptState, Phase
from tests.support.launch.slurm_programs import SlurmPrograms


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmPrograms:
    programs = SlurmPrograms(tmp_path)
    monkeypatch.setenv("PATH", str(programs.folder), prepend=":")
    return programs


def job(folder: Path, run: str = "night", **settings: Any) -> Job:
    spec = LaunchSpec.parse({"launcher": "slurm", "nodes": 2, **settings})
    return Job(run, ("train",), str(folder / "model"), spec)


def write(one: Job, **files: object) -> None:
    """Write what the script leaves: `claim`, `ended`, `exit_0`, `log_0`."""
    folder = attempt_folder(one, 0)
    for name, value in files.items():
        kind, _, number = name.partition("_")
        if kind == "claim":
            (folder / "claim").symlink_to(str(value))
        else:
            text = {"ended": "ended", "exit": f"exit-{number}", "log": f"node-{number}.log"}[kind]
            (folder / text).write_text(f"{value}\n")


def state(one: Job) -> AttemptState:
    found = SlurmLauncher().state(one, 0)
    assert found is not None
    return found


def test_life_of_an_attempt(slurm: SlurmPrograms, tmp_path: Path) -> None:
    one, launcher = job(tmp_path), SlurmLauncher()
    assert launcher.attempts(one) == 0
    assert launcher.state(one, 0) is None
    launcher.start(one, 0, seconds=7200)
    assert {"--nodes=2", "--time=120", f"--job-name={one.name}-0"} <= set(slurm.options(1))
    slurm.set("PENDING", "Resources")
    assert (state(one).phase, state(one).reason) == (Phase.QUEUED, "Resources")
    slurm.set("RUNNING")
    write(one, claim=1, log_0="epoch 1", log_1="epoch 1\nnot yet whole")
    assert state(one).phase is Phase.RUNNING
    assert list(launcher.log(one, 0)) == ["node 0: epoch 1", "node 1: epoch 1", "node 1: not yet whole"]
    assert list(launcher.log(one, 0)) == []
    launcher.heartbeat(one, 0)
    slurm.set("COMPLETED")
    write(one, ended=0, exit_0=0, exit_1=0)
    assert state(one).phase is Phase.SUCCEEDED
    slurm.forget()
    assert state(one).phase is Phase.SUCCEEDED
    assert launcher.attempts(one) == 1


def test_a_second_start_finds_the_job(slurm: SlurmPrograms, tmp_path: Path) -> None:
    """A launcher that was killed after it submitted the job must not submit another one."""
    for _ in range(2):
        SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
    assert slurm.states == ["PENDING"]
    slurm.set("COMPLETED")
    write(job(tmp_path), claim=1, ended=0)
    SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
    assert slurm.states == ["COMPLETED"]


def test_of_two_submissions_the_one_that_runs_counts(slurm: SlurmPrograms, tmp_path: Path) -> None:
    """Two launchers submitted at the same moment: the second job ends at once, which is not the end of the attempt."""
    one = job(tmp_path)
    SlurmLauncher().start(one, 0, seconds=3600)
    (attempt_folder(one, 0) / "job.json").rename(tmp_path / "kept")
    SlurmLauncher().start(one, 0, seconds=3600)
    slurm.set("RUNNING", number=2)
    write(one, claim=2)
    slurm.set("COMPLETED", number=1)
    assert state(one).phase is Phase.RUNNING
    slurm.set("FAILED", number=2)
    write(one, ended=1)
    assert state(one).phase is Phase.FAILED


@pytest.mark.parametrize(
    ("word", "cause", "reaction"),
    [
        ("PREEMPTED", Cause.PREEMPTED, Reaction.RESUME),
        ("NODE_FAIL", Cause.NODE_LOST, Reaction.RESUME),
        ("OUT_OF_MEMORY", Cause.HOST_MEMORY, Reaction.RETRY),
        ("TIMEOUT", Cause.DEADLINE, Reaction.GIVE_UP),
    ],
)
def test_the_word_of_slurm_is_the_cause(
    slurm: SlurmPrograms, tmp_path: Path, word: str, cause: Cause, reaction: Reaction
) -> None:
    SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
    slurm.set(word)
    write(job(tmp_path), claim=1, log_0="epoch 1")
    ending = classify(state(job(tmp_path)))
    assert (ending.cause, ending.reaction) == (cause, reaction)


def test_exit_codes_and_logs_are_the_cause_where_slurm_has_none(slurm: SlurmPrograms, tmp_path: Path) -> None:
    one = job(tmp_path)
    SlurmLauncher().start(one, 0, seconds=3600)
    slurm.set("FAILED", "NonZeroExitCode")
    write(one, claim=1, ended=2, exit_1=2, log_1="Error: --recipe: 'tinny' is not a recipe", exit_0=1)
    ending = classify(state(one))
    assert (ending.cause, ending.message) == (Cause.USER_ERROR, "--recipe: 'tinny' is not a recipe")


def test_all_processes_that_saved_are_a_preemption(slurm: SlurmPrograms, tmp_path: Path) -> None:
    """As before its time limit: `hours` of the budget decide whether it goes on."""
    SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
    slurm.set("FAILED", "NonZeroExitCode")
    write(job(tmp_path), claim=1, ended=75, exit_0=75, exit_1=75)
    assert classify(state(job(tmp_path))).cause is Cause.PREEMPTED


def test_a_requeued_job_has_not_ended(slurm: SlurmPrograms, tmp_path: Path) -> None:
    """Its script wrote exit codes when it was preempted; Slurm starts it again by itself."""
    SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
    write(job(tmp_path), claim=1, ended=75, exit_0=75, exit_1=75)
    slurm.set("PENDING", "BeginTime")
    assert (state(job(tmp_path)).phase, state(job(tmp_path)).reason) == (Phase.QUEUED, "BeginTime")
    SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
    assert slurm.states == ["PENDING"]


def test_a_job_that_slurm_forgot_in_mid_run_is_retried(slurm: SlurmPrograms, tmp_path: Path) -> None:
    one = job(tmp_path)
    SlurmLauncher().start(one, 0, seconds=3600)
    write(one, claim=1)
    slurm.forget()
    ending = classify(state(one))
    assert (ending.reaction, ending.message) == (Reaction.RETRY, "Slurm does not know the job any more")


def test_a_job_that_somebody_removes_is_gone(slurm: SlurmPrograms, tmp_path: Path) -> None:
    launcher, one = SlurmLauncher(), job(tmp_path)
    launcher.start(one, 0, seconds=3600)
    launcher.cancel(one)
    assert slurm.states == ["CANCELLED"]
    assert launcher.state(one, 0) is None
    slurm.forget()
    assert launcher.state(one, 0) is None
    launcher.cancel(one)


def test_waiting_that_cannot_end_is_a_mistake(slurm: SlurmPrograms, tmp_path: Path) -> None:
    """An impossible request would wait until the budget's hours in the queue are over."""
    SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
    slurm.set("PENDING", "PartitionNodeLimit")
    found = state(job(tmp_path))
    assert found.stuck
    assert classify(found).cause is Cause.USER_ERROR


def test_a_folder_that_another_job_writes_is_refused(slurm: SlurmPrograms, tmp_path: Path) -> None:
    SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
    with pytest.raises(UserError, match=r"which runs, writes it.*scancel"):
        SlurmLauncher().start(job(tmp_path, run="other"), 0, seconds=3600)
    slurm.set("FAILED")
    SlurmLauncher().start(job(tmp_path, run="other"), 0, seconds=3600)
    assert slurm.states == ["FAILED", "PENDING"]


def test_a_record_of_something_else_is_refused(slurm: SlurmPrograms, tmp_path: Path) -> None:
    one = job(tmp_path)
    SlurmLauncher().start(one, 0, seconds=3600)
    record = attempt_folder(one, 0) / "job.json"
    record.write_text(record.read_text().replace(one.digest, "0" * 64))
    with pytest.raises(UserError, match="another job of this name"):
        SlurmLauncher().state(one, 0)
    record.write_text("[]")
    with pytest.raises(UserError, match="no record of a job"):
        SlurmLauncher().cancel(one)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("invalid partition specified: gpus", UserError),
        ("Unable to contact slurm controller (connect failure)", RunFailed),
    ],
)
def test_a_controller_that_is_away_is_asked_again_and_a_refusal_is_not(
    slurm: SlurmPrograms, tmp_path: Path, error: str, kind: type[Exception]
) -> None:
    slurm.fail(error)
    with pytest.raises(kind, match=f"squeue failed: {error[:20]}|sbatch failed: {error[:20]}"):
        SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
    slurm.fail("")
    SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
    assert slurm.states == ["PENDING"]


def test_a_machine_without_slurm_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"there is no program 'sbatch'.*login node"):
        SlurmLauncher().start(job(tmp_path), 0, seconds=3600)
