"""The batch script, and what Slurm is asked for."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.launch.job import Job
from codetr.launch.slurm.script import amount, batch_options, batch_script
from codetr.launch.spec import LaunchSpec


def job(*arguments: str, **settings: Any) -> Job:
    return Job("night", arguments or ("train",), "/data/model", LaunchSpec.parse({"launcher": "slurm", **settings}))


def options(one: Job, seconds: int = 7200) -> list[str]:
    return batch_options(one, 3, Path("/data/model.slurm/a"), seconds=seconds)


def test_everything_in_the_file_is_asked_for() -> None:
    found = options(
        job(
            nodes=4,
            processes=8,
            resources={"cpu": "63500m", "memory": "200Gi", "accelerators": 8},
            slurm={
                **{"partition": "gpu", "account": "vision", "qos": "high", "constraint": "h100"},
                "options": {"mail-type": "END"},
            },
        )
    )
    assert {
        *("--nodes=4", "--ntasks-per-node=1", "--cpus-per-task=64", "--mem=204800M", "--gpus-per-node=8"),
        *("--partition=gpu", "--account=vision", "--qos=high", "--constraint=h100", "--mail-type=END"),
        *("--time=120", "--signal=TERM@300", "--requeue", "--dependency=singleton"),
    } <= set(found)


def test_a_short_rest_of_the_budget_is_not_signalled_at_its_start() -> None:
    assert not any(option.startswith("--signal") for option in options(job(), seconds=60))
    assert "--time=1" in options(job(), seconds=1)


@pytest.mark.parametrize(
    ("quantity", "number"), [("500m", 0.5), ("8", 8), ("1.5", 1.5), ("2k", 2000), ("64Gi", 64 << 30), ("1M", 10**6)]
)
def test_quantities_of_kubernetes(quantity: str, number: float) -> None:
    """A file of a cluster moves from Kubernetes to Slurm with the same words."""
    assert amount(quantity) == number


TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)


@given(arguments=st.lists(TEXT, min_size=1, max_size=3), value=TEXT, folder=TEXT)
def test_no_text_leaves_its_place_in_the_script(arguments: list[str], value: str, folder: str) -> None:
    """A quote or a line break in a path must not become a command on every node."""
    one = job(*arguments, environment={"VALUE": value}, slurm={"python": "/bin/echo"})
    script = batch_script(one, Path("/tmp") / folder.replace("/", "-"))
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_it_runs_the_command_once_and_keeps_its_exit_code(tmp_path: Path) -> None:
    """With a srun of a line, which starts one task here."""
    program = tmp_path / "srun"
    program.write_text('#!/bin/sh\nSLURM_STEP_ID=0 SLURM_NODEID=0 exec bash "$PWD/script.sh" task >> node-0.log\n')
    program.chmod(0o755)
    code = 'import os, sys; print(os.environ["WORD"], os.environ["PET_MASTER_PORT"], *sys.argv[3:]); sys.exit(75)'
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec python3 -c '{code}' \"$@\"\n")
    python.chmod(0o755)
    one = job("train", "it's", environment={"WORD": "a b"}, slurm={"python": str(python), "setup": ["export B=1"]})
    (tmp_path / "script.sh").write_text(batch_script(one, tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_NNODES": "1", "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1"}
    command = ["bash", str(tmp_path / "script.sh")]

    first = subprocess.run(command, env={**environment, "SLURM_JOB_ID": "7"}, check=False)
    assert first.returncode == 75
    assert (tmp_path / "node-0.log").read_text() == "a b 20007 codetr train it's --nproc 1\n"
    assert ((tmp_path / "ended").read_text(), (tmp_path / "exit-0").read_text()) == ("75\n", "75\n")

    second = subprocess.run(command, env={**environment, "SLURM_JOB_ID": "8"}, capture_output=True, check=False)
    assert (second.returncode, second.stdout) == (0, b"job 7 runs this attempt\n")
    assert len((tmp_path / "node-0.log").read_text().splitlines()) == 1
