"""A job as a batch script of Slurm, which runs the command of codetr once on each node."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path

from codetr.launch.job import Job
from codetr.launch.spec import Resources
from codetr.launch.trainjob import network_environment

CLAIM, ENDED, EXIT, LOG = "claim", "ended", "exit-{}", "node-{}.log"
"""Files in the folder of an attempt: which job of Slurm runs it, the exit code of all, and code and output of a node,
by its number."""

_FIRST_PORT, _PORTS = 20000, 20000
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18} | {
    f"{unit}i": 1 << 10 * power for power, unit in enumerate("KMGTPE", start=1)
}

_TEMPLATE = r"""#!/bin/bash
# Runs `codetr` on every node of the job: this script on the first one, and itself as a task on each.
# A signal reaches the command too, which saves a checkpoint; the shell waits for it, and keeps its exit code.
trap : TERM INT
cd {folder} || exit 70

if [ -n "${{SLURM_STEP_ID:-}}" ] && [ "${{1:-}}" = task ]; then
    export PET_NNODES="$SLURM_NNODES" PET_NODE_RANK="$SLURM_NODEID"
    export PET_MASTER_ADDR="$SLURM_LAUNCH_NODE_IPADDR" PET_MASTER_PORT="$((SLURM_JOB_ID % {ports} + {first_port}))"
{environment}
{setup}
    {command}
    code=$?
    echo "$code" > "exit-$SLURM_NODEID.new" && mv "exit-$SLURM_NODEID.new" "exit-$SLURM_NODEID"
    exit "$code"
fi

# Two launchers may have submitted the attempt at the same moment: the first job runs it, also after a requeue.
if ! ln -s "$SLURM_JOB_ID" {claim} && [ "$(readlink {claim})" != "$SLURM_JOB_ID" ]; then
    echo "job $(readlink {claim}) runs this attempt"
    exit 0
fi
rm -f {ended} exit-*
srun --wait={wait} --output=node-%n.log --open-mode=append bash "$PWD/script.sh" task
code=$?
echo "$code" > {ended}.new && mv {ended}.new {ended}
exit "$code"
"""


def batch_script(job: Job, folder: Path) -> str:
    """Return the script of a job.

    Args:
        job: what to run.
        folder: of the attempt, in which the script is written as `script.sh`.
    """
    spec = job.spec
    variables = {"OMP_NUM_THREADS": "1", **network_environment(spec.network), **spec.variables}
    command = [spec.slurm.python or sys.executable, "-u", "-m", "codetr", *job.arguments]
    return _TEMPLATE.format(
        folder=shlex.quote(str(folder)),
        first_port=_FIRST_PORT,
        ports=_PORTS,
        environment="\n".join(f"    export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())),
        setup="\n".join(f"    {line}" for line in spec.slurm.setup),
        command=shlex.join([*command, "--nproc", str(spec.processes)]),
        claim=CLAIM,
        ended=ENDED,
        # Processes whose peers are gone end by themselves; those that do not are killed after this time.
        wait=max(spec.grace_seconds, 60),
    )


def batch_options(job: Job, attempt: int, folder: Path, *, seconds: int) -> list[str]:
    """Return the options of `sbatch` for an attempt.

    Args:
        job: what to run.
        attempt: its number, from 0.
        folder: of the attempt.
        seconds: that it may take.
    """
    spec = job.spec
    slurm = spec.slurm
    options = {
        "job-name": job.attempt_name(attempt),
        "comment": f"codetr {job.digest[:16]}",
        "chdir": str(folder),
        "output": "batch.log",
        "open-mode": "append",
        "nodes": str(spec.nodes),
        "ntasks-per-node": "1",
        "time": str(math.ceil(seconds / 60)),
        # One job of a name at a time, should it be submitted twice.
        "dependency": "singleton",
        **_resource_options(spec.resources),
        **{name: value for name in ("partition", "account", "qos", "constraint") if (value := getattr(slurm, name))},
        **slurm.options,
    }
    if seconds > 2 * spec.grace_seconds:
        options["signal"] = f"TERM@{spec.grace_seconds}"
    return ["--requeue", *(f"--{name}={value}" for name, value in options.items())]


def _resource_options(resources: Resources) -> dict[str, str]:
    options = {
        "cpus-per-task": str(math.ceil(amount(resources.cpu))),
        "mem": f"{math.ceil(amount(resources.memory) / (1 << 20))}M",
    }
    if resources.accelerators:
        options["gpus-per-node"] = str(resources.accelerators)
    return options


def amount(quantity: str) -> float:
    """Return the number that a quantity of Kubernetes stands for, e.g. 0.5 for "500m"."""
    if quantity.endswith("m"):
        return float(quantity[:-1]) / 1000
    digits = quantity.rstrip("kKMGTPEi")
    return float(digits) * _UNITS[quantity[len(digits) :]]
