from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import resnext
from resnext.inference.engine import EngineName, Precision
from resnext.inference.engines import Ready
from resnext.inference.load import load

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

# In fp32 torch convolves by TF32 on a GPU, whose products have ten bits.
RELATIVE: dict[Precision, float] = {"fp32": 2e-3, "bf16": 0.03}


@pytest.mark.parametrize("engine", ["torch", "compiled"])
@pytest.mark.parametrize("precision", RELATIVE)
def test_engines_on_a_gpu_give_the_logits_of_a_cpu(
    engine: EngineName, precision: Precision, randomised: Callable[..., None]
) -> None:
    network = resnext.build("resnext26_4x8d", generator=torch.Generator().manual_seed(0)).eval()
    randomised(network)
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network(images)
    made = Ready(network.cuda(), images.cuda()).engine(engine, precision)
    for number in (3, 2):
        given = made(images[:number].cuda())
        assert given.dtype == torch.float32
        atol = RELATIVE[precision] * float(expected.abs().max())
        torch.testing.assert_close(given.cpu(), expected[:number], rtol=0, atol=atol)


def test_a_classifier_gives_the_same_answers_on_a_gpu(artefact: Path, pictures: list[Path]) -> None:
    on_gpu, on_cpu = (load(artefact, device).predict(pictures, top=3) for device in ("cuda", "cpu"))
    assert [answer.labels for answer in on_gpu] == [answer.labels for answer in on_cpu]
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=0.01)
