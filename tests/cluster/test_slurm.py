"""Training on a real Slurm of two nodes (`make test-cluster`): requeued, killed and adopted, with the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from codetr.core.files import sha256_file
from tests.support.cluster.slurm_cluster import missing, slurm_cluster
from tests.support.paths import ROOT
from tests.support.training.runs import RECIPE, drawn_dataset, rows

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

LONG = 300.0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as variables:
        yield {**os.environ, **variables}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("data"))


class Training:
    """`codetr train --on` a cluster of two nodes."""

    def __init__(self, folder: Path, dataset: Path, environment: dict[str, str]) -> None:
        self.output, self.environment, self._log = folder / "model", environment, folder / "log.txt"
        cluster, recipe = folder / "cluster.yaml", folder / "recipe.yaml"
        spec = {
            **{"launcher": "slurm", "nodes": 2, "grace_seconds": 30},
            "resources": {"cpu": "1", "memory": "2Gi"},
            "budget": {"hours": 1, "queue_hours": 0.2},
            "environment": {"PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"},
        }
        cluster.write_text(yaml.safe_dump(spec))
        recipe.write_text(
            yaml.safe_dump(RECIPE.changed([("training.validate_every", 0)], where="test").model_dump(mode="json"))
        )
        command = [sys.executable, "-m", "codetr", "train", "--on", str(cluster), "--recipe", str(recipe)]
        self._command = [*command, "-d", str(dataset), "-o", str(self.output), "--set", "training.epochs=24"]

    def start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, env=self.environment, stdout=log, stderr=log)

    def finish(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for its success and return the digest of the weights."""
        assert process.wait(LONG) == 0, self.log
        return sha256_file(self.output / "model.safetensors")

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + LONG
        while not holds():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def steps(self) -> int:
        """Steps that were done."""
        return len(rows(self.output.parent, "model.checkpoints"))

    def ranks(self) -> list[int]:
        """Processes that train."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                ours = f"{self.output}\0".encode() in (folder / "cmdline").read_bytes()
                if ours and b"\0LOCAL_RANK=" in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return sorted(found)

    def slurm(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout

    @property
    def jobs(self) -> list[str]:
        """Numbers of the jobs that Slurm has not ended."""
        return self.slurm("squeue", "--noheader", "--format=%i").split()


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    training = Training(tmp_path_factory.mktemp("undisturbed"), dataset, environment)
    return training.finish(training.start())


def test_a_requeued_job_saves_and_resumes(
    dataset: Path, environment: dict[str, str], undisturbed: str, tmp_path: Path
) -> None:
    """Slurm signals every process of a job, those that load images too; they must not end the one that saves."""
    training = Training(tmp_path, dataset, environment)
    process = training.start()
    training.until(lambda: training.steps > 3)
    (number,) = training.jobs
    training.slurm("scontrol", "requeue", number)
    # Slurm waits two minutes before it starts a requeued job.
    training.until(lambda: "PENDING" in training.slurm("squeue", "--noheader", "--format=%T"))
    training.slurm("scontrol", "update", f"JobId={number}", "StartTime=now")
    assert training.finish(process) == undisturbed
    assert "saving a checkpoint" in training.log
    assert [path.name[-2:] for path in tmp_path.glob("*.slurm/*")] == ["-0"]


def test_a_killed_process_is_replaced_by_the_next_attempt(
    dataset: Path, environment: dict[str, str], undisturbed: str, tmp_path: Path
) -> None:
    training = Training(tmp_path, dataset, environment)
    process = training.start()
    training.until(lambda: training.steps > 3)
    os.kill(training.ranks()[-1], signal.SIGKILL)
    assert training.finish(process) == undisturbed
    assert sorted(path.name[-2:] for path in tmp_path.glob("*.slurm/*")) == ["-0", "-1"]


def test_a_launcher_that_is_killed_leaves_a_job_that_the_next_one_adopts(
    dataset: Path, environment: dict[str, str], undisturbed: str, tmp_path: Path
) -> None:
    training = Training(tmp_path, dataset, environment)
    process = training.start()
    training.until(lambda: training.jobs)
    process.kill()
    process.wait()
    assert training.finish(training.start()) == undisturbed
    assert [path.name[-2:] for path in tmp_path.glob("*.slurm/*")] == ["-0"]


def test_ctrl_c_cancels_the_job(dataset: Path, environment: dict[str, str], tmp_path: Path) -> None:
    training = Training(tmp_path, dataset, environment)
    process = training.start()
    training.until(lambda: training.steps > 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(LONG) == 130
    training.until(lambda: not training.jobs)
    assert "slurm_script" not in training.slurm("ps", "-eo", "args")


def test_what_slurm_refuses_is_a_mistake(dataset: Path, environment: dict[str, str], tmp_path: Path) -> None:
    training = Training(tmp_path, dataset, environment)
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(cluster.read_text() + "slurm: {partition: gpus}\n")
    assert training.start().wait(LONG) == 2
    assert training.log.splitlines()[-1].startswith("Error: Slurm: sbatch failed: ")
    assert "gpus" in training.log or "partition" in training.log
