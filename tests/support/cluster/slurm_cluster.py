"""A real Slurm of two nodes on this machine. CODETR_SLURM names the folder that `.ci/fetch_slurm.sh` has filled."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_ports

_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=10
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=8000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def missing() -> str | None:
    """Return why there is no Slurm here; None if there is."""
    root = Path(os.environ.get("CODETR_SLURM", "/nowhere"))
    return None if (root / "usr/sbin/slurmctld-wlm").exists() else "CODETR_SLURM names no folder with Slurm"


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run a controller and two nodes in a folder; yield the environment variables that its programs need."""
    root = Path(os.environ["CODETR_SLURM"]).absolute()
    plugins = root / _LIBRARIES / "slurm-wlm"
    configuration = folder / "slurm.conf"
    (folder / "state").mkdir()
    controller, first, second = free_ports(3)
    configuration.write_text(
        _CONFIGURATION.format(
            **{"host": socket.gethostname(), "user": os.environ.get("USER", "root"), "plugins": plugins},
            **{"folder": folder, "controller": controller, "first": first, "second": second},
        )
    )
    variables = {
        "PATH": f"{root}/usr/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{root / _LIBRARIES}:{plugins}",
        "SLURM_CONF": str(configuration),
    }
    sbin = root / "usr/sbin"
    commands = [[str(sbin / "slurmctld-wlm"), "-D"]]
    stepd = str(sbin / "slurmstepd-wlm")
    commands += [[str(sbin / "slurmd-wlm"), "-D", "-N", node, "-d", stepd] for node in ("n1", "n2")]
    environment = {**os.environ, **variables}
    daemons = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"daemon-{number}.log").open("w") as log:
                one = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            daemons.append(one)
        _wait_for_nodes(environment, folder)
        yield variables
    finally:
        subprocess.run(["scancel", "--user", environment.get("USER", "root")], env=environment, check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


def _wait_for_nodes(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + 30
    command = ["sinfo", "--noheader", "--format=%D %t"]
    while time.monotonic() < deadline:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.stdout.split() == ["2", "idle"]:
            return
        time.sleep(0.2)
    raise AssertionError("\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("daemon-*.log"))))
