"""How many processes a machine can hold, as its files in /proc and /sys say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.distributed.capacity import PROCESS_MEMORY, Capacity, total_memory

GIB = 2**30
CORES = len(os.sched_getaffinity(0))


def machine(root: Path, **files: str) -> Path:
    """Write files of /proc and /sys, by names with two underscores for each slash, to a folder."""
    for name, text in {"proc__meminfo": "MemTotal: 9999999 kB\nMemAvailable: 8388608 kB\n", **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_limits_the_whole_machine_counts(tmp_path: Path) -> None:
    assert Capacity.of_machine(root=machine(tmp_path)) == Capacity(CORES, 8 * GIB)


def test_a_system_without_proc_has_cores_only(tmp_path: Path) -> None:
    """Refusing there for want of numbers would forbid `--nproc` altogether."""
    assert Capacity.of_machine(root=tmp_path) == Capacity(CORES, None)


def test_a_container_counts_with_its_limits(tmp_path: Path) -> None:
    """A pod sees the cores and the memory of its node, and is throttled or killed at its limits."""
    root = machine(
        tmp_path,
        proc__self__cgroup="0::/\n",
        **{
            "sys__fs__cgroup__cpu.max": "100000 100000\n",
            "sys__fs__cgroup__memory.max": f"{4 * GIB}\n",
            "sys__fs__cgroup__memory.current": f"{3 * GIB}\n",
            "sys__fs__cgroup__memory.stat": f"anon 5\ninactive_file {2 * GIB}\n",
        },
    )
    assert Capacity.of_machine(root=root) == Capacity(1, 3 * GIB)
    assert total_memory(root) == 4 * GIB, "a benchmark names the memory of the container, not that of its node"


def test_limits_of_groups_further_up_count_too(tmp_path: Path) -> None:
    """A service inside a limited slice has no limit itself."""
    root = machine(
        tmp_path,
        proc__self__cgroup="0::/slice/service\n",
        **{
            "sys__fs__cgroup__slice__service__cpu.max": "max 100000\n",
            "sys__fs__cgroup__slice__service__memory.max": "max\n",
            "sys__fs__cgroup__slice__service__memory.current": "7\n",
            "sys__fs__cgroup__slice__cpu.max": "50000 100000\n",
            "sys__fs__cgroup__slice__memory.max": f"{GIB}\n",
            "sys__fs__cgroup__slice__memory.current": "0\n",
        },
    )
    assert Capacity.of_machine(root=root) == Capacity(1, GIB)


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        proc__self__cgroup="4:memory:/job\n1:cpu,cpuacct:/\n",
        **{
            "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "100000\n",
            "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000\n",
            "sys__fs__cgroup__memory__job__memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys__fs__cgroup__memory__job__memory.usage_in_bytes": f"{GIB}\n",
            "sys__fs__cgroup__memory__memory.limit_in_bytes": "9223372036854771712\n",
            "sys__fs__cgroup__memory__memory.usage_in_bytes": f"{GIB}\n",
        },
    )
    assert Capacity.of_machine(root=root) == Capacity(1, GIB)
    (root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert Capacity.of_machine(root=root).cores == CORES


def test_more_processes_than_cores_are_refused_unless_forced() -> None:
    """They would share the cores: every step takes longer than with fewer processes."""
    capacity = Capacity(cores=4, memory=None)
    capacity.require(4, force=False)
    with pytest.raises(UserError, match=r"--nproc: 5 processes .* 4 CPU cores\. Give at most 4, or add --force"):
        capacity.require(5, force=False)
    capacity.require(5, force=True)


def test_more_processes_than_memory_holds_are_refused_unless_forced() -> None:
    """The system would kill one of them, or something else."""
    capacity = Capacity(cores=64, memory=5 * PROCESS_MEMORY + 1)
    capacity.require(5, force=False)
    with pytest.raises(UserError, match=r"6 processes .* at least 2\.3 GiB .* 2\.0 GiB are available\. Give at most 5"):
        capacity.require(6, force=False)
    capacity.require(6, force=True)


def test_a_gpu_takes_one_process_and_cores_do_not_count() -> None:
    """Two on one GPU cannot form a process group, so that --force would not help."""
    capacity = Capacity(cores=1, memory=None, gpus=2)
    capacity.require(2, force=False)
    for force in (False, True):
        with pytest.raises(UserError, match="3 processes need as many GPUs, and PyTorch sees 2"):
            capacity.require(3, force=force)
