import os
from collections.abc import Iterator

import pytest
import torch

from resnext.training.machine import Machine, Precision, num_cores

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what a machine tells torch."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.use_deterministic_algorithms(False)
    Machine().settle()


@pytest.mark.parametrize("name", ["gpu", "abacus", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_one_sentence_with_the_ones_that_are(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be used here") as caught:
        Machine(device=name).torch_device()
    message = str(caught.value)
    assert f"device = {name!r}" in message
    assert "'cpu'" in message
    assert "\n" not in message


def test_auto_is_a_device_that_can_be_used() -> None:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    assert Machine().torch_device().type == kind
    assert Machine(device="cpu").torch_device() == torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "weights", "on_cpu"),
    [
        ("auto", torch.float32, None),
        ("fp32", torch.float32, None),
        ("fp64", torch.float64, None),
        ("bf16", torch.float32, torch.bfloat16),
        ("fp16", torch.float32, torch.float16),
    ],
)
def test_precision_is_the_type_of_the_weights_and_of_convolutions(
    precision: Precision, weights: torch.dtype, on_cpu: torch.dtype | None
) -> None:
    machine = Machine(precision=precision)
    assert machine.dtype == weights
    assert machine.autocast_dtype(CPU) == on_cpu


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_computes_in_half_precision_by_default(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert Machine().autocast_dtype(GPU) == expected
    assert Machine(precision="fp32").autocast_dtype(GPU) is None
    assert Machine(precision="fp64").autocast_dtype(GPU) is None


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"precision = 'fp8'.*bf16"):
        Machine(precision="fp8")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -8])
def test_a_micro_batch_has_at_least_one_image(size: int) -> None:
    with pytest.raises(ValueError, match=f"micro_batch_size = {size}: at least 1 image"):
        Machine(micro_batch_size=size)
    assert Machine(micro_batch_size=1).micro_batch_size == 1


def test_few_threads_load_images_beside_a_cpu_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert Machine(device="cpu").num_loader_threads == min(8, num_cores() // 4)
    assert Machine(num_threads=0).num_loader_threads == 0
    assert Machine(num_threads=11).num_loader_threads == 11


@pytest.mark.parametrize(("num_processes", "expected"), [(1, 8), (2, 4), (8, 1), (64, 0)])
def test_the_processes_of_a_machine_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, num_processes: int, expected: int
) -> None:
    monkeypatch.setattr("resnext.training.machine.num_cores", lambda: 32)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(num_processes))
    assert Machine(device="cpu").num_loader_threads == expected
    assert Machine(device="cpu", num_threads=3).num_loader_threads == 3


@pytest.mark.parametrize("is_deterministic", [True, False])
def test_torch_is_told_whether_results_must_repeat(flags: None, is_deterministic: bool) -> None:
    Machine(is_deterministic=is_deterministic).settle()
    assert torch.are_deterministic_algorithms_enabled() == is_deterministic
    assert torch.backends.cudnn.benchmark == (not is_deterministic)
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == is_deterministic
