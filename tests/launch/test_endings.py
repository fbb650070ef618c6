"""Why an attempt failed decides whether hours of GPUs are spent on it again."""

from __future__ import annotations

import pytest

from codetr.launch.endings import Cause, Reaction, classify
from codetr.launch.state import AttemptState, Phase, ProcessEnd


def failed(*ends: ProcessEnd, reason: str = "") -> AttemptState:
    return AttemptState(Phase.FAILED, reason, ends=ends)


def end(code: int | None = 1, *log: str, reason: str = "", name: str = "node-0") -> ProcessEnd:
    return ProcessEnd(name, code, reason, log)


CASES: dict[str, tuple[AttemptState, Cause, Reaction]] = {
    "a mistake in the settings": (
        failed(end(2, "Error: --recipe: 'tinny' is not a recipe")),
        Cause.USER_ERROR,
        Reaction.GIVE_UP,
    ),
    "a mistake, after which the others are stopped": (
        failed(end(75), end(2, "Error: wrong", name="node-1")),
        Cause.USER_ERROR,
        Reaction.GIVE_UP,
    ),
    "preempted, all saved": (failed(end(75), end(75)), Cause.PREEMPTED, Reaction.RESUME),
    "stopped before it could handle signals": (failed(end(143)), Cause.PREEMPTED, Reaction.RESUME),
    "evicted": (failed(end(137, reason="Evicted")), Cause.PREEMPTED, Reaction.RESUME),
    "preempted by the scheduler": (failed(end(75, reason="PreemptionByScheduler")), Cause.PREEMPTED, Reaction.RESUME),
    "the node is gone": (failed(end(None, reason="DeletionByTaintManager")), Cause.NODE_LOST, Reaction.RESUME),
    "a lost node goes before the peer that noticed": (
        failed(end(1, "NCCL error: remote process exited"), end(137, reason="NodeLost", name="node-1")),
        Cause.NODE_LOST,
        Reaction.RESUME,
    ),
    "killed for memory by the kubelet": (failed(end(137, reason="OOMKilled")), Cause.HOST_MEMORY, Reaction.RETRY),
    "killed without a reason": (failed(end(137)), Cause.HOST_MEMORY, Reaction.RETRY),
    "out of memory on a GPU": (
        failed(end(1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")),
        Cause.GPU_MEMORY,
        Reaction.GIVE_UP,
    ),
    "NCCL": (
        failed(end(1, "ncclRemoteError: A call failed possibly due to a network error")),
        Cause.NCCL,
        Reaction.RETRY,
    ),
    "a collective that never ended": (
        failed(end(134, "[rank3]: Watchdog caught collective operation timeout: ALLREDUCE ran for 3600000 ms")),
        Cause.HUNG,
        Reaction.RETRY,
    ),
    "an exchange on CPUs that never ended": (
        failed(end(143), end(70, "Error: an exchange between processes timed out after 3600 s. A process … hangs.")),
        Cause.HUNG,
        Reaction.RETRY,
    ),
    "a broken GPU": (failed(end(1, "CUDA error: uncorrectable ECC error encountered")), Cause.GPU, Reaction.RETRY),
    "the loss": (
        failed(end(2, "Error: loss.bbox is not finite at step 12, images [4]")),
        Cause.NOT_FINITE,
        Reaction.GIVE_UP,
    ),
    "the loss, as another rank reports it": (
        failed(end(2, "epoch 1", "Error in process 3: loss.bbox is not finite", "bye")),
        Cause.NOT_FINITE,
        Reaction.GIVE_UP,
    ),
    "the disk": (failed(end(70, "Error: /data/model: No space left on device")), Cause.DISK_FULL, Reaction.GIVE_UP),
    "no such image": (failed(end(None, "not found", reason="ImagePullBackOff")), Cause.IMAGE, Reaction.GIVE_UP),
    "out of time": (failed(reason="DeadlineExceeded"), Cause.DEADLINE, Reaction.GIVE_UP),
    "a runtime that is not installed": (
        failed(reason="TrainingRuntimeNotSupported"),
        Cause.USER_ERROR,
        Reaction.GIVE_UP,
    ),
    "something else": (failed(end(1, "Segmentation fault")), Cause.UNKNOWN, Reaction.RETRY),
    "nothing is known": (failed(), Cause.UNKNOWN, Reaction.RETRY),
}


@pytest.mark.parametrize("case", CASES)
def test_class_and_reaction(case: str) -> None:
    state, cause, reaction = CASES[case]
    ending = classify(state)
    assert (ending.cause, ending.reaction) == (cause, reaction)
    assert ending.message


def test_every_class_has_a_case() -> None:
    """A class that no test reaches may have the wrong reaction for years."""
    assert {cause for _, cause, _ in CASES.values()} == set(Cause)


def test_the_message_is_the_line_that_says_why() -> None:
    log = ("epoch 1", "torch.OutOfMemoryError: CUDA out of memory", "Traceback ends")
    assert classify(failed(end(1, *log))).message == log[1]
    for prefix in ("Error: ", "Error in process 12: "):
        assert classify(failed(end(2, "epoch 1", f"{prefix}wrong", "bye"))).message == "wrong"


def test_a_word_of_the_log_does_not_outweigh_the_exit_code() -> None:
    """A class name or a path may say anything."""
    assert classify(failed(end(75, "reading /data/CUDA out of memory.jpg"))).cause is Cause.PREEMPTED
