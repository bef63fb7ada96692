"""What int8 gains and costs: python benchmarks/int8.py cifar10:ROOT [ARTEFACT] [--quick].

Speed: ResNeXt-50 32x4d with initial weights, at batch 1 and 16, as `accelerate` makes it in int8, against the quickest
engine in fp32, as `auto` chooses it, and against OpenVINO and NNCF called by hand on torchvision's network: a fixed
input size, latency asked for, fp32 or what OpenVINO takes by itself for what is not quantised.
Accuracy: an artefact trained on the data, or, without one, a network of 20 layers trained here for some minutes,
calibrated on its training images and scored on test images; then with calibrations that are broken, which have to
be refused, and with no drop allowed. Writes int8.json and int8.md beside this file, in some six minutes; with
`--quick` tries all of it in small and writes nothing.
"""

import argparse
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import resnext
from resnext.artefact.weights import open_network
from resnext.data.dataset import Data
from resnext.imaging.transform import normalise
from resnext.inference.choice import choose
from resnext.inference.contest import race, times_as_fast
from resnext.inference.engine import Engine
from resnext.inference.engines import Ready
from resnext.inference.openvino_engine import OpenVINOEngine, openvino_module
from resnext.inference.quantise import MAX_DROP, QuantisationError, quantise
from resnext.model.device import processor
from resnext.spec.preprocessing import Preprocessing

NAME = "resnext50_32x4d"
TRAINED = "resnext20_4x4d"
FP32, INT8, BY_HAND, BY_HAND_F32 = "fp32, auto", "int8", "int8 by hand", "int8 by hand, the rest in fp32"
GOALS = {"against fp32": 2.2, "against by hand": 0.97, "drop": MAX_DROP}
PACKAGES = ("torch", "torchvision", "openvino", "nncf")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    image_size: int = 224
    num_rounds: int = 15
    num_timed_calibration: int = 32  # what it is does not matter for speed
    num_calibration: int = 300
    num_training: int = 16_000
    num_test: int = 5_000
    epochs: int = 3


QUICK = Size(
    image_size=64, num_rounds=9, num_timed_calibration=4, num_calibration=32, num_training=1280, num_test=500, epochs=1
)


def by_hand(example: Tensor, images: list[Tensor]) -> dict[str, Callable[[], object]]:
    """Quantise torchvision's network by NNCF and OpenVINO as their own documents do; return calls of it."""
    import nncf  # noqa: PLC0415 - openvino_module has to be first
    from torchvision.models import resnext50_32x4d  # noqa: PLC0415 - takes a second

    nncf.set_log_level(logging.ERROR)
    openvino = openvino_module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch
        model = openvino.convert_model(resnext50_32x4d().eval(), example_input=example[:1])
    quantised, given = nncf.quantize(model, nncf.Dataset([image.numpy() for image in images])), example.numpy()
    quantised.reshape(list(example.shape))
    plain = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    settings = {BY_HAND: plain, BY_HAND_F32: {**plain, "INFERENCE_PRECISION_HINT": "f32"}}
    compiled = {name: openvino.compile_model(quantised, "CPU", each) for name, each in settings.items()}
    return {name: partial(each, given, share_inputs=True) for name, each in compiled.items()}


def speed(batch_size: int, size: Size) -> dict[str, Any]:
    """Race the contestants at a batch size."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, 3, size.image_size, size.image_size)
    example = torch.randn(shape, generator=generator)
    images = list(torch.split(torch.randn((size.num_timed_calibration, *shape[1:]), generator=generator), 1))
    ready = Ready(resnext.build(NAME, generator=generator), example)
    choice, fp32 = choose(ready)
    int8 = OpenVINOEngine(quantise(ready, images, lambda engine: 100.0).model, batch_size, "int8")
    contestants: dict[str, Callable[[], object]] = {
        FP32: lambda: fp32(example),
        INT8: lambda: int8(example),
        **by_hand(example, images),
    }
    times = race(contestants, size.num_rounds)
    best = min((BY_HAND, BY_HAND_F32), key=lambda name: median(times[name]))
    return {
        "batch_size": batch_size,
        "choice": choice.words(),
        "latency_ms_per_image": {name: [each / batch_size for each in taken] for name, taken in times.items()},
        "against fp32": asdict(times_as_fast(times[FP32], times[INT8])),
        "against by hand": {"which": best, **asdict(times_as_fast(times[best], times[INT8]))},
    }


def pixels_of(data: Data, split: str, seen: Preprocessing, number: int) -> tuple[Tensor, Tensor]:
    """Return the first images of a split, as bytes, and their labels."""
    pixels, labels = [], []
    for batch in resnext.evaluation_batches(data.split(split), seen):
        pixels.append(batch.pixels)
        labels.append(batch.labels)
        if sum(map(len, labels)) >= number:
            break
    return torch.cat(pixels)[:number], torch.cat(labels)[:number]


def train(pixels: Tensor, labels: Tensor, seen: Preprocessing, epochs: int) -> nn.Module:
    """Train a small network, with flips, at a rate that falls to nothing."""
    architecture = resnext.architecture(TRAINED, base_channels=16, num_classes=10)
    network = resnext.build(architecture, generator=torch.Generator().manual_seed(0))
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = epochs * -(-len(pixels) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.1, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(pixels), generator=generator), 128):
            images = normalise(pixels[chosen], seen)
            flips = torch.rand(len(chosen), generator=generator) < 0.5
            images[flips] = images[flips].flip(3)
            optimiser.zero_grad()
            torch.autograd.backward(F.cross_entropy(network(images), labels[chosen]))
            optimiser.step()
            schedule.step()
    return network.eval()


def accuracy(source: str, artefact: str | None, size: Size) -> dict[str, Any]:
    """Quantise a trained network, with images as they are, broken, and with no drop allowed."""
    data = resnext.open_data(source)
    if artefact is None:
        seen = Preprocessing(image_size=32, resize_size=32)
        pixels, labels = pixels_of(data, "train", seen, size.num_training)
        network: nn.Module = train(pixels, labels, seen, size.epochs)
        name = f"{TRAINED}, trained for {size.epochs} epochs on {len(pixels)} images"
    else:
        network, manifest = open_network(artefact)
        seen, name = manifest.preprocessing, Path(artefact).name
        pixels, _ = pixels_of(data, "train", seen, size.num_calibration)
    shown, truth = pixels_of(data, "test", seen, size.num_test)

    def score(engine: Engine) -> float:
        found = torch.cat([engine(normalise(batch, seen)).argmax(dim=1) for batch in torch.split(shown, 128)])
        return 100 * float((found == truth).double().mean())

    def attempt(images: Tensor, max_drop: float = MAX_DROP) -> dict[str, Any]:
        """Say what came of it, and the figures where it was let through."""
        try:
            found = quantise(ready, torch.split(images, 64), score, max_drop).cost
        except QuantisationError as error:
            return {"is_refused": True, "said": str(error)}
        return {"is_refused": False, "said": found.words(), "drop": found.drop, **found.model_dump()}

    right = normalise(pixels[: size.num_calibration], seen)
    ready = Ready(network, normalise(shown[:128], seen))
    return {
        "network": name,
        "num_test_images": len(truth),
        "num_calibration_images": len(right),
        "as they are": attempt(right),
        "as they are, no drop allowed": attempt(right, 0.0),
        "broken: one grey": attempt(torch.zeros_like(right)),
        "broken: not normalised": attempt(pixels[: size.num_calibration].float()),
    }


def page(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the page."""
    yield from ("# int8: what it gains and costs", "")
    for each in found["speed"]:
        yield from (f"{NAME}, {found['image_size']} pixels, batch {each['batch_size']}; fp32: {each['choice']}.", "")
        yield from (f"| {found['num_rounds']} rounds | ms an image, median | range |", "|---|---|---|")
        for name, times in each["latency_ms_per_image"].items():
            yield f"| {name} | {median(times):.1f} | {min(times):.1f} to {max(times):.1f} |"
        yield ""
        for against in ("against fp32", "against by hand"):
            ratio, which = each[against], each[against].get("which", FP32)
            yield f"- {ratio['median']:.2f} times as fast as {which} ({ratio['low']:.2f} to {ratio['high']:.2f};" + (
                f" goal {GOALS[against]})"
            )
        yield ""
    told = found["accuracy"]
    yield f"{told['network']}: {told['num_test_images']} test images, {told['num_calibration_images']} to calibrate on;"
    yield from (f"a drop of {MAX_DROP} points is allowed where nothing else is said.", "")
    yield from ("| calibration | outcome |", "|---|---|")
    for name, outcome in told.items():
        if isinstance(outcome, dict):
            yield f"| {name} | {'refused: ' if outcome['is_refused'] else ''}{outcome['said']} |"
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    yield from ("", f"{found['processor']}, {found['num_threads']} threads; {versions}.")


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("artefact", nargs="?")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    size = QUICK if given.quick else Size()
    with TemporaryDirectory() as made:
        os.environ["XDG_CACHE_HOME"] = made
        found = {
            "accuracy": accuracy(given.data, given.artefact, size),
            "speed": [speed(batch_size, size) for batch_size in (1, 16)],
            "goals": GOALS,
            "image_size": size.image_size,
            "num_rounds": size.num_rounds,
            "num_threads": torch.get_num_threads(),
            "processor": processor(torch.device("cpu")),
            "versions": {package: version(package) for package in PACKAGES},
        }
    text = "\n".join(page(found)) + "\n"
    if not given.quick:
        here = Path(__file__).with_suffix("")
        here.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        here.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
