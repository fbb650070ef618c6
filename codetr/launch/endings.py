"""Why an attempt failed, and what to do next: resume, try again later, or give up.

The cluster's own words come first: it knows of nodes and quotas. Then the exit codes of codetr, which are a protocol
(`codetr.core.exit_codes`). Then what the last lines of the logs say, for failures of libraries and drivers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from codetr.core.exit_codes import ExitCode
from codetr.launch.state import AttemptState, ProcessEnd


class Reaction(StrEnum):
    """What the launcher does after an end."""

    RESUME = "resume"
    """At once, from the newest checkpoint; it does not count as a restart."""
    RETRY = "retry"
    """After a while, from the newest checkpoint; counted."""
    GIVE_UP = "give up"


class Cause(StrEnum):
    """Why an attempt failed."""

    PREEMPTED = "preempted"
    NODE_LOST = "node lost"
    HOST_MEMORY = "out of memory on the host"
    GPU_MEMORY = "out of memory on a GPU"
    NCCL = "communication between GPUs failed"
    HUNG = "hung"
    GPU = "a GPU failed"
    IMAGE = "the image cannot be started"
    DEADLINE = "out of time"
    USER_ERROR = "wrong settings or input"
    NOT_FINITE = "the loss is not finite"
    DISK_FULL = "no space left"
    UNKNOWN = "unknown"


_REACTIONS = {
    Cause.PREEMPTED: Reaction.RESUME,
    Cause.NODE_LOST: Reaction.RESUME,
    # The next batch may be smaller, and other processes of the node may be gone; the budget ends it.
    Cause.HOST_MEMORY: Reaction.RETRY,
    # The same batch comes again after a resume.
    Cause.GPU_MEMORY: Reaction.GIVE_UP,
    Cause.NCCL: Reaction.RETRY,
    Cause.HUNG: Reaction.RETRY,
    Cause.GPU: Reaction.RETRY,
    Cause.IMAGE: Reaction.GIVE_UP,
    Cause.DEADLINE: Reaction.GIVE_UP,
    Cause.USER_ERROR: Reaction.GIVE_UP,
    # Training is deterministic: the same step would come again.
    Cause.NOT_FINITE: Reaction.GIVE_UP,
    Cause.DISK_FULL: Reaction.GIVE_UP,
    Cause.UNKNOWN: Reaction.RETRY,
}

REASONS_OF_IMAGES = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Why Kubernetes cannot start a container; it goes on trying."""

REASONS_OF_SLURM = frozenset(
    {
        "AccountNotAllowed",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "InvalidAccount",
        "InvalidQOS",
        "PartitionNodeLimit",
        "PartitionTimeLimit",
        "QOSNotAllowed",
    }
)
"""Why Slurm will not start a pending job, however long it waits."""

_BY_REASON = {
    **dict.fromkeys(REASONS_OF_IMAGES, Cause.IMAGE),
    "OOMKilled": Cause.HOST_MEMORY,
    "Evicted": Cause.PREEMPTED,
    "Preempted": Cause.PREEMPTED,
    "Preempting": Cause.PREEMPTED,
    "PreemptionByScheduler": Cause.PREEMPTED,
    "EvictionByEvictionAPI": Cause.PREEMPTED,
    "TerminationByKubelet": Cause.PREEMPTED,
    "DeletionByTaintManager": Cause.NODE_LOST,
    "DeletionByPodGC": Cause.NODE_LOST,
    "NodeLost": Cause.NODE_LOST,
    "NODE_FAIL": Cause.NODE_LOST,
    "BOOT_FAIL": Cause.NODE_LOST,
    "OUT_OF_MEMORY": Cause.HOST_MEMORY,
    "PREEMPTED": Cause.PREEMPTED,
    "TIMEOUT": Cause.DEADLINE,
    "DEADLINE": Cause.DEADLINE,
    **dict.fromkeys(REASONS_OF_SLURM, Cause.USER_ERROR),
    "DeadlineExceeded": Cause.DEADLINE,
    "TrainingRuntimeNotSupported": Cause.USER_ERROR,
}

_SIGKILL = 137
"""128 + the signal: of the kernel's, unless the cluster says that it was its own."""

_BY_LOG = tuple(
    (re.compile(pattern, re.IGNORECASE), cause)
    for cause, pattern in (
        (Cause.GPU_MEMORY, r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED"),
        (Cause.DISK_FULL, r"no space left on device|disk quota exceeded"),
        (Cause.NOT_FINITE, r"not finite"),
        (Cause.HUNG, r"watchdog.*(timeout|timed out)|timed out (waiting|after)|collective operation timeout"),
        (Cause.GPU, r"uncorrectable ECC|\bXid\b|fallen off the bus|device-side assert"),
        (Cause.GPU, r"CUDA error: (unspecified|an illegal)"),
        (Cause.NCCL, r"\bNCCL\b.*(error|failure|abort)|ncclSystemError|ncclRemoteError"),
        (Cause.NCCL, r"Connection (reset|closed) by (peer|remote)"),
    )
)


_ERROR = re.compile(r"^Error(?: in process \d+)?: ")
"""How the last line of codetr begins when it fails; see `codetr.cli.app.fail`."""


@dataclass(frozen=True)
class Ending:
    """How an attempt failed.

    Attributes:
        cause: the class of the failure.
        reaction: what to do next.
        process: the process that failed first; None where none ran.
        message: the line that says most, for people.
    """

    cause: Cause
    reaction: Reaction
    process: ProcessEnd | None
    message: str


def classify(state: AttemptState) -> Ending:
    """Return why an attempt failed.

    The process that failed first decides; the others fail because it is gone. A process that the cluster itself ended
    goes before one that ended by itself, since the latter may have lost its peer.
    """
    reasons = [state.reason, *(end.reason for end in state.ends)]
    for reason in reasons:
        if cause := _BY_REASON.get(reason):
            process = next((end for end in state.ends if end.reason == reason), _first(state.ends))
            return _ending(cause, process, state)
    by_code = [(cause, end) for end in state.ends if (cause := _of_exit_code(end)) is not None]
    stopped = [end for cause, end in by_code if cause is Cause.PREEMPTED]
    for cause, end in by_code:
        # Processes are also asked to stop because another one has failed.
        if cause is not Cause.PREEMPTED or len(stopped) == len(state.ends):
            return _ending(cause, end, state)
    for end in state.ends:
        if cause := _of_log(end.log):
            return _ending(cause, end, state)
    killed = next((end for end in state.ends if end.exit_code == _SIGKILL), None)
    if killed:
        return _ending(Cause.HOST_MEMORY, killed, state)
    return _ending(Cause.UNKNOWN, _first(state.ends), state)


def _of_exit_code(end: ProcessEnd) -> Cause | None:
    match end.exit_code:
        case ExitCode.MISTAKE:
            # The error of codetr says more than its code.
            cause = _of_log(filter(_ERROR.match, end.log))
            return cause if cause in (Cause.NOT_FINITE, Cause.DISK_FULL) else Cause.USER_ERROR
        case ExitCode.PREEMPTED | 143:  # 128 + SIGTERM: it was stopped before it could handle signals
            return Cause.PREEMPTED
        case _:
            return None


def _of_log(lines: Iterable[str]) -> Cause | None:
    text = "\n".join(lines)
    return next((cause for pattern, cause in _BY_LOG if pattern.search(text)), None)


def _first(ends: tuple[ProcessEnd, ...]) -> ProcessEnd | None:
    return ends[0] if ends else None


def _ending(cause: Cause, process: ProcessEnd | None, state: AttemptState) -> Ending:
    reason = state.reason or (process.reason if process else "") or "the cluster does not say why"
    return Ending(cause, _REACTIONS[cause], process, _message(process, cause) or reason)


def _message(process: ProcessEnd | None, cause: Cause) -> str:
    """Return the line of the log that led to the cause, else an error that codetr printed, else the last one."""
    if process is None or not process.log:
        return ""
    for pattern, found in _BY_LOG:
        if found is cause:
            for line in process.log:
                if pattern.search(line):
                    return _ERROR.sub("", line).strip()
    lines = list(filter(_ERROR.match, process.log)) or process.log
    return _ERROR.sub("", lines[-1]).strip()
