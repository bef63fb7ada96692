from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import resnext
from resnext.data.stream import Stream
from resnext.spec.recipe import Recipe
from resnext.training.machine import Machine
from resnext.training.run import Run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

ON_GPU: dict[str, Any] = {"device": "cuda", "is_deterministic": True}
FEW_EPOCHS = {"epochs": 6, "image": {"size": 32}, "model": "resnext11_4x8d"}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_network_learns_digits_on_a_gpu_and_answers_the_same_on_a_cpu(precision: str, tmp_path: Path) -> None:
    recipe = resnext.read_recipe("quick", FEW_EPOCHS)
    result = resnext.train("digits", recipe, tmp_path / "run", machine=Machine(device="cuda", precision=precision))  # type: ignore[arg-type]
    assert result.best is not None
    assert result.best.top1_error_percent < 20  # guessing is wrong nine times in ten
    images = resnext.open_data("digits").split("test")
    assert not isinstance(images, Stream)
    shown = [images.image(index) for index in range(64)]
    on_gpu, on_cpu = (resnext.load(result.artefact, device).predict(shown, top=1) for device in ("cuda", "cpu"))
    assert [answer.label for answer in on_gpu] == [answer.label for answer in on_cpu]


def test_a_run_that_goes_on_ends_with_the_weights_of_one_that_never_stopped(
    train: Callable[..., Run], kept: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    whole = train(tmp_path / "whole", machine=ON_GPU)
    list(whole)
    whole.finish()
    stopped = train(tmp_path / "stopped", machine=ON_GPU)
    for _, _ in zip(range(2), stopped, strict=False):
        continue
    stopped.journal.stop(stopped.state)
    stopped.folder.release()
    resumed = train(tmp_path / "stopped", machine=ON_GPU)
    assert resumed.first_step > 0
    list(resumed)
    resumed.finish()
    theirs, ours = kept(tmp_path / "whole"), kept(tmp_path / "stopped")
    assert {name: theirs[name] for name in theirs if name.startswith(("best", "last", "checkpoint"))} == {
        name: ours[name] for name in ours if name.startswith(("best", "last", "checkpoint"))
    }


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_starts_from_the_loss_of_single_precision(
    start: Callable[..., Run], recipe: Recipe, precision: str
) -> None:
    def first_loss(name: str) -> float:
        run = start(f"{name}", machine={"device": "cuda", "precision": name}, recipe=recipe)
        return next(iter(run)).loss  # type: ignore[union-attr]

    assert first_loss(precision) == pytest.approx(first_loss("fp32"), rel=0.03)
