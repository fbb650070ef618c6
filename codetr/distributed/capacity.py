"""How many processes a machine can hold: its cores, its GPUs and its memory, within the limits of a container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from codetr.core.errors import UserError

PROCESS_MEMORY = 400 * 2**20
"""Bytes a process holds at least before its first step: Python, PyTorch and a small detector.

Measured by `python -m benchmarks.process_memory`; recipes with larger detectors, optimisers and images need more."""


@dataclass(frozen=True)
class Capacity:
    """What this process and those it starts can use.

    Attributes:
        cores: CPU cores, at least 1.
        memory: available bytes; None where the system does not report them.
        gpus: number of GPUs that PyTorch sees.
    """

    cores: int
    memory: int | None
    gpus: int = 0

    @classmethod
    def of_machine(cls, *, gpus: int = 0, root: Path = Path("/")) -> Capacity:
        """Read the limits of this machine and of its control groups (versions 1 and 2).

        Args:
            gpus: number of GPUs.
            root: the folder in which proc and sys lie.
        """
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        cpu_limits = [int(limit) for limit in _cpu_limits(root)]
        memory = [*_available_memory(root), *_memory_limits(root)]
        return cls(max(1, min([cores, *cpu_limits])), min(memory) if memory else None, gpus)

    def require(self, processes: int, *, force: bool) -> None:
        """Raise `UserError` if `processes` are more than this machine can hold.

        Args:
            processes: how many are to be started.
            force: accept more than its cores and its memory allow; a GPU never takes two.
        """
        if self.gpus:
            if processes > self.gpus:
                raise UserError(
                    f"{processes} processes need as many GPUs, and PyTorch sees {self.gpus}",
                    where="--nproc",
                    hint="Give 'gpus' for one process per GPU, or set CUDA_VISIBLE_DEVICES= to compute on the CPU.",
                )
        elif processes > self.cores:
            self._refuse(processes, f"there are {self.cores} CPU cores", self.cores, force=force)
        if self.memory is not None and processes * PROCESS_MEMORY > self.memory:
            needed = f"they need at least {_gib(processes * PROCESS_MEMORY)} of memory ({_gib(PROCESS_MEMORY)} each)"
            problem = f"{needed}, and {_gib(self.memory)} are available"
            self._refuse(processes, problem, self.memory // PROCESS_MEMORY, force=force)

    @staticmethod
    def _refuse(processes: int, problem: str, most: int, *, force: bool) -> None:
        if force:
            return
        hint = f"Give at most {max(most, 1)}, or add --force to start them anyway."
        raise UserError(
            f"{processes} processes are more than this machine can hold: {problem}", where="--nproc", hint=hint
        )


def total_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes of main memory of this machine or container, in use or not; None if the system does not say.

    Args:
        root: the folder in which proc and sys lie.
    """
    sizes = [limit for limit, _ in _limited_groups(root)]
    with suppress(ValueError, OSError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(sizes, default=None)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _available_memory(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _cpu_limits(root: Path) -> Iterator[float]:
    """Yield the cores that each control group of this process may use on average."""
    for group in _groups(root, "cpu"):
        for quota, period in (line.split() for line in _lines(group / "cpu.max")):
            if quota != "max":
                yield int(quota) / int(period)
        quotas, periods = _lines(group / "cpu.cfs_quota_us"), _lines(group / "cpu.cfs_period_us")
        for quota, period in zip(quotas, periods, strict=False):
            if int(quota) > 0:
                yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    """Yield the bytes that are left of the limit of each control group of this process."""
    return (left for _, left in _limited_groups(root))


def _limited_groups(root: Path) -> Iterator[tuple[int, int]]:
    """Yield the memory limit of each control group of this process, and what is left of it, in bytes."""
    names = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    for group in _groups(root, "memory"):
        for limit_name, usage_name in names:
            for limit, usage in zip(_lines(group / limit_name), _lines(group / usage_name), strict=False):
                if limit != "max":
                    # Memory of files that are cached is given back when it is needed.
                    cached = dict(line.split() for line in _lines(group / "memory.stat")).get("inactive_file", "0")
                    yield int(limit), max(int(limit) - int(usage) + int(cached), 0)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control group of this process and of all groups it is in."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = mount / name.lstrip("/")
        while group != mount:
            yield group
            group = group.parent
        yield mount


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
