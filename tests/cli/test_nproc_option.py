"""Commands on several processes, and processes that are stopped or killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from codetr.cli.nproc_option import process_count
from codetr.core.errors import UserError
from codetr.core.manifest import FolderKind, Manifest
from codetr.distributed.capacity import Capacity
from tests.support.command import call


def test_processes_are_a_number_or_gpus() -> None:
    assert process_count("3", gpus=0) == 3
    assert process_count("gpus", gpus=8) == 8
    for wrong in ("0", "-1", "two", "", "1.5"):
        with pytest.raises(UserError, match="--nproc"):
            process_count(wrong, gpus=8)
    with pytest.raises(UserError, match="PyTorch sees none"):
        process_count("gpus", gpus=0)


def folder(parent: Path, kind: FolderKind) -> Path:
    """A folder that is what it should be as far as its manifest says."""
    (parent / kind).mkdir()
    Manifest(kind=kind, files={}).write(parent / kind)
    return parent / kind


@pytest.mark.skipif(torch.cuda.is_available(), reason="counts GPUs where there are some")
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_more_processes_than_the_machine_holds_are_refused(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Hundreds of processes would be started, and fill the memory before one of them says a word."""
    dataset, model = folder(tmp_path, "dataset"), folder(tmp_path, "model")
    given = {"train": ("--recipe", "tiny"), "evaluate": ("-m", model)}[command]
    code, _, err = call(capsys, command, *given, "-d", dataset, "-o", tmp_path / "output", "--nproc", "4096")
    assert code == 2
    assert f"there are {Capacity.of_machine().cores} CPU cores" in err
    assert "--force" in err


# Forced, because two processes must start on a machine with one core as well.
ON_TWO = "import sys; from codetr.cli.nproc_option import run_on_processes as run; run('2', sys.argv[1:], force=True)"


@pytest.mark.process
def test_a_command_runs_on_several_processes(tmp_path: Path) -> None:
    """And the launcher leaves no temporary folder."""
    process = subprocess.run(
        [sys.executable, "-c", ON_TWO, "--version"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert len(process.stdout.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_a_mistake_on_several_processes_is_one_message_and_code_2(tmp_path: Path) -> None:
    """torchrun would make it code 1, surrounded by its report, and print the message once for every process."""
    process = subprocess.run(
        [sys.executable, "-c", ON_TWO, "registry", "list", str(tmp_path / "nowhere")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert process.stderr.startswith("Error: ")


@pytest.mark.process
def test_stopping_the_launcher_stops_its_processes_and_says_run_me_again(tmp_path: Path) -> None:
    """A preempted machine sends SIGTERM to the launcher alone; code 75 is what its scheduler starts again on."""
    process = subprocess.Popen(
        [sys.executable, "-c", ON_TWO, "sample-data", str(tmp_path / "many"), "--images", "100000"],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob(".many.*"))) < 2:
        assert time.monotonic() < deadline, "the processes do not start"
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


class Killed(torch.utils.data.Dataset[None]):
    """Reading its only entry kills the process that does it."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_loader_process_that_the_system_kills_is_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Memory that runs out is the usual reason, and a traceback of PyTorch does not say so."""
    monkeypatch.setattr("codetr.steps.train.train", lambda *_, **__: list(DataLoader(Killed(), num_workers=1)))
    dataset = folder(tmp_path, "dataset")
    code, _, err = call(capsys, "train", "--recipe", "tiny", "-d", dataset, "-o", tmp_path / "model")
    assert code == 70
    assert "a process that loads images was killed" in err
    assert "fewer workers" in err


NODE = "import sys; from codetr.cli.nproc_option import run_on_processes as run; run(None, sys.argv[1:])"


@pytest.mark.process
def test_the_launchers_of_two_nodes_meet_and_keep_the_exit_code(tmp_path: Path) -> None:
    """As Kubeflow Trainer starts them. torchrun would end with 1, and a wrong setting would be tried again for days."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    variables = {"PET_NNODES": "2", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    command = [sys.executable, "-c", NODE, "registry", "list", str(tmp_path / "nowhere")]
    nodes = [
        subprocess.Popen(command, env={**os.environ, **variables, "PET_NODE_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    errors = [node.communicate(timeout=120)[1].decode() for node in nodes]
    assert [node.returncode for node in nodes] == [2, 2]
    assert "nowhere" in errors[0]
