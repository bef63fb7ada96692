import pytest
import torch

from resnext.training.machine import Machine, num_cores


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


def test_precision_is_the_type_of_the_weights() -> None:
    assert Machine(precision="fp32").dtype == torch.float32
    assert Machine(precision="fp64").dtype == torch.float64


def test_few_threads_load_images_beside_a_cpu_unless_told_otherwise() -> None:
    assert Machine(device="cpu").num_loader_threads == min(8, num_cores() // 4)
    assert Machine(num_threads=0).num_loader_threads == 0
    assert Machine(num_threads=11).num_loader_threads == 11
