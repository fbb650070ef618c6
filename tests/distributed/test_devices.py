"""Names of devices: what they select, and what is refused on which machine."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.distributed.devices import Devices, device_name, is_out_of_memory, select_device

NAMES = ("auto", "cpu", "cuda", "cuda:0", "cuda:1", "mps")
MACHINES = st.builds(Devices, gpus=st.integers(0, 9), mps=st.booleans())


@given(MACHINES, st.sampled_from(NAMES), st.integers(1, 9), st.data())
def test_what_is_selected_is_there(machine: Devices, name: str, processes: int, data: st.DataObject) -> None:
    """Otherwise PyTorch fails later, with a message about its sources in C++."""
    process = data.draw(st.integers(0, processes - 1))
    try:
        selected = machine.select(name, process=process, processes=processes)
    except UserError:
        assume(name in ("cpu", "auto") and machine.gpus == 0)
        raise
    there = {"cpu", *(f"cuda:{index}" for index in range(machine.gpus)), *(["mps"] if machine.mps else [])}
    assert selected in there
    assert name == "auto" or selected.startswith(name)


@pytest.mark.parametrize(
    ("machine", "name", "message"),
    [
        (Devices(gpus=1), "cuda:1", "there is no 'cuda:1': this machine has 1 GPU: cuda:0"),
        (Devices(gpus=2), "cuda:2", "this machine has 2 GPUs: cuda:0, cuda:1"),
        (Devices(gpus=8), "cuda:9", "this machine has 8 GPUs: cuda:0 to cuda:7"),
        (Devices(), "cuda", "there is no 'cuda': PyTorch sees no GPU on this machine"),
        (Devices(mps=True), "cuda:0", "this machine has 1 GPU: mps"),
        (Devices(gpus=1), "mps", "there is no 'mps': this machine has 1 GPU: cuda:0"),
        (Devices(), "gpu", "'gpu' is not the name of a device. Names: auto, cpu, cuda "),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(machine: Devices, name: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        machine.select(name)
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["", "CPU", "cuda:", "cuda:01", "cuda:-1", "cuda:1000", "cuda:1\n", "cpu:1", "meta"])
def test_other_names_are_refused_before_pytorch_is_loaded(text: str) -> None:
    with pytest.raises(UserError, match="is not the name of a device"):
        device_name(text)


def test_several_processes_take_a_gpu_each_or_share_the_cpu() -> None:
    """Two processes on one GPU cannot form a process group."""
    machine = Devices(gpus=2, mps=True)
    assert [machine.select("cuda", process=index, processes=2) for index in range(2)] == ["cuda:0", "cuda:1"]
    assert machine.select("cpu", process=1, processes=2) == "cpu"
    for name in ("cuda:1", "mps"):
        with pytest.raises(UserError, match="there are 2 processes"):
            machine.select(name, processes=2)
    with pytest.raises(UserError, match="process 2 of this machine has no GPU"):
        machine.select("auto", process=2, processes=3)


@pytest.mark.parametrize("name", ["auto", "cpu", torch.device("cpu")])
def test_a_device_of_pytorch_is_accepted(name: str | torch.device) -> None:
    """The device of a tensor is one."""
    assert select_device(name).type in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_full_memory_is_recognised_whichever_library_finds_it(error: RuntimeError, full: bool) -> None:
    """An automatic batch size ended with a traceback where cuBLAS, not PyTorch, had no memory left."""
    assert is_out_of_memory(error) == full
