"""How fast images load, against torchvision's ImageFolder and transforms v2: python benchmarks/loading.py [ROUNDS].

Makes JPEG files of three sizes. Every contestant gives normalised batches, for training a random crop of at least 8 %
of the area, flipped half the time, for evaluation the centre, of 224 pixels a side. In each round all load the same
files, one after another; the first round is left out. "Per core" is by processor time, of workers too, which others on
the machine disturb least; throughput on the wall is beside it. Writes loading.json and loading.md beside this file.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, features
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.io import decode_image
from torchvision.transforms import v2
from torchvision.tv_tensors import Image as TensorImage

from resnext.data.augment import augmenter
from resnext.data.content import undecoded, whole
from resnext.data.dataset import Data, Dataset
from resnext.data.encoded import EncodedImages, Files
from resnext.data.loader import Feed, Loading, evaluation_batches
from resnext.data.network_input import network_input
from resnext.data.packed import pack
from resnext.data.sampler import Sampler
from resnext.imaging.transform import normalise
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import Augmentation

ROUNDS = 9
NUM_AT_ONCE = 2
SEEN = Preprocessing(image_size=224, resize_size=256, interpolation="bilinear")
MIN_AREA = 0.08
PEER = "torchvision, Pillow"

Pass = Callable[[], Iterable[Tensor]]


@dataclass(frozen=True, slots=True)
class Photographs:
    """So many photographs of a size, how much noise they have, the quality of the JPEG, and the size of a batch."""

    width: int
    height: int
    number: int
    noise: float
    quality: int
    batch_size: int

    @property
    def title(self) -> str:
        """What tables call them."""
        return f"{self.width}x{self.height}"


SIZES = (
    Photographs(width=96, height=72, number=1024, noise=6, quality=90, batch_size=32),
    Photographs(width=500, height=375, number=320, noise=12, quality=90, batch_size=32),
    Photographs(width=4000, height=3000, number=16, noise=9, quality=88, batch_size=8),
)


@dataclass(frozen=True, slots=True)
class Time:
    """What one pass took an image, in milliseconds: of all processors together, and on the wall."""

    processor_ms: float
    wall_ms: float


def photograph(seed: int, sort: Photographs) -> Image.Image:
    """Make an image of gradients, texture at every scale that fades as that of photographs does, and sensor noise."""
    rng = np.random.default_rng(seed)
    total = np.zeros((sort.height, sort.width, 3), np.float32)
    side = 4
    while side <= sort.width:
        cells = rng.normal(size=(side * 3 // 4, side, 3)).astype(np.float32)
        cells = 0.4 * cells + 1.5 * cells.mean(axis=2, keepdims=True)  # light varies more than colour
        planes = [
            np.asarray(Image.fromarray(plane).resize((sort.width, sort.height), Image.Resampling.BICUBIC))
            for plane in np.moveaxis(cells, 2, 0)
        ]
        total += np.stack(planes, axis=2) * side**-0.85
        side *= 2
    total *= 55 / total.std()
    total += 120 + sort.noise * rng.standard_normal((sort.height, sort.width, 1), np.float32)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def write(root: Path, sort: Photographs) -> float:
    """Write photographs in two class folders, a few motifs over and over, and return their mean size in kilobytes."""
    motifs = [photograph(seed, sort) for seed in range(min(sort.number, 8))]
    for number in range(sort.number):
        path = root / "ab"[number % 2] / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        motifs[number % len(motifs)].save(path, quality=sort.quality)
    return sum(path.stat().st_size for path in root.rglob("*.jpg")) / sort.number / 1000


def contestants(root: Path, sort: Photographs, cache: Path) -> dict[str, dict[str, Pass]]:
    """Return what loads the files, for training and for evaluation, by what tables call it."""
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))
    dataset = EncodedImages(Files(root), names, ["ab".index(name[0]) for name in names])
    found = {"training": theirs(root, sort, trains=True), "evaluation": theirs(root, sort, trains=False)}
    for name, passes in found.items():
        passes["resnext"] = ours(dataset, sort, trains=name == "training")
    found["training"]["resnext, decoding = fast"] = ours(dataset, sort, trains=True, is_fast=True)
    if sort.width <= 500:
        data = Data(source=str(root), class_names=("a", "b"), splits={"train": dataset}, digest="")
        kept = pack(data, cache)[0].indexed("train")
        for name, passes in found.items():
            passes["resnext, --cache"] = ours(kept, sort, trains=name == "training")
    return found


def ours(dataset: Dataset, sort: Photographs, *, trains: bool, is_fast: bool = False) -> Pass:
    """Return a pass of this library over the files, by as many threads as the peers have workers."""
    if not trains:
        loading = Loading(batch_size=sort.batch_size, num_threads=NUM_AT_ONCE)
        return lambda: (normalise(batch.pixels, SEEN) for batch in evaluation_batches(dataset, SEEN, loading))
    feed = Feed(
        dataset=dataset,
        augment=augmenter(Augmentation(crop="random_resized", min_area=MIN_AREA, flip=True), SEEN),
        sampler=Sampler(num_images=sort.number, batch_size=sort.batch_size, seed=0),
        opening=undecoded if is_fast else whole,
        num_threads=NUM_AT_ONCE,
    )
    return lambda: (network_input(batch, SEEN) for batch in feed.batches(1))


def theirs(root: Path, sort: Photographs, *, trains: bool) -> dict[str, Pass]:
    """Return passes of torchvision: images of Pillow as by default, and tensors, normalised a batch at a time."""
    cut: list[v2.Transform] = (
        [v2.RandomResizedCrop(SEEN.image_size, scale=(MIN_AREA, 1)), v2.RandomHorizontalFlip()]
        if trains
        else [v2.Resize(SEEN.resize_size), v2.CenterCrop(SEEN.image_size)]
    )
    last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(SEEN.mean, SEEN.std)]
    images = ImageFolder(root, v2.Compose([*cut, v2.ToImage(), *last]))
    tensors = ImageFolder(root, v2.Compose(cut), loader=_as_tensor)
    passes: dict[str, Pass] = {}
    for num_workers, place in ((NUM_AT_ONCE, f"{NUM_AT_ONCE} workers"), (0, "no worker")):
        loaders = [
            DataLoader(
                files,
                batch_size=sort.batch_size,
                shuffle=trains,
                num_workers=num_workers,
                persistent_workers=num_workers > 0,
            )
            for files in (images, tensors)
        ]
        passes[f"{PEER}, {place}"] = lambda loader=loaders[0]: (batch for batch, _ in loader)  # type: ignore[misc]
        passes[f"torchvision, decode_image, {place}"] = lambda loader=loaders[1]: (  # type: ignore[misc]
            v2.Compose(last)(batch) for batch, _ in loader
        )
    return passes


def _as_tensor(path: str) -> Any:
    return TensorImage(decode_image(path))


def processor_seconds() -> float:
    """Return the processor time so far of this process and of the workers that live."""
    ticks = 0
    for child in active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def timed(load: Pass) -> Time:
    """Load all files once."""
    processor, wall, num_images = processor_seconds(), time.perf_counter(), 0
    for batch in load():
        num_images += len(batch)
    wall, processor = time.perf_counter() - wall, processor_seconds() - processor
    return Time(processor_ms=1000 * processor / num_images, wall_ms=1000 * wall / num_images)


def rounds_of(passes: dict[str, Pass], num_rounds: int) -> dict[str, list[Time]]:
    """Let all contestants load in turn, so many rounds after one that is left out."""
    times: dict[str, list[Time]] = {name: [] for name in passes}
    for number in range(num_rounds + 1):
        for name, load in passes.items():
            taken = timed(load)
            if number:
                times[name].append(taken)
    return times


def summary(times: dict[str, list[Time]]) -> dict[str, dict[str, float]]:
    """Return each contestant's medians, and those of its ratios to torchvision's default, with their spread."""
    peers = times[f"{PEER}, {NUM_AT_ONCE} workers"]
    found = {}
    for name, taken in times.items():
        ratios = sorted(peer.processor_ms / own.processor_ms for peer, own in zip(peers, taken, strict=True))
        found[name] = {
            "images_per_core_second": 1000 / median(own.processor_ms for own in taken),
            "images_per_second": 1000 / median(own.wall_ms for own in taken),
            "ratio_per_core": median(ratios),
            "ratio_per_core_least": ratios[0],
            "ratio_per_core_most": ratios[-1],
            "ratio_on_the_wall": median(peer.wall_ms / own.wall_ms for peer, own in zip(peers, taken, strict=True)),
        }
    return found


def has_equal_pixels(passes: dict[str, Pass]) -> bool:
    """Tell whether this library and torchvision's default show evaluation the same, but for rounding once scaled."""
    pairs = zip(passes["resnext"](), passes[f"{PEER}, no worker"](), strict=True)
    return all(torch.allclose(one, other, rtol=0, atol=1e-5) for one, other in pairs)


def measured(num_rounds: int) -> Iterator[dict[str, Any]]:
    """Yield what was measured of each size of photographs."""
    for sort in SIZES:
        with TemporaryDirectory() as folder:
            root = Path(folder, "photographs")
            kilobytes = write(root, sort)
            found = contestants(root, sort, Path(folder, "cache"))
            yield {
                "size": sort.title,
                "kilobytes": kilobytes,
                "evaluation_is_equal": has_equal_pixels(found["evaluation"]),
                **{task: summary(rounds_of(passes, num_rounds)) for task, passes in found.items()},
            }


def table(size: dict[str, Any], task: str) -> str:
    """Lay out what was measured of a size and a task."""
    lines = [
        f"| {task}, {size['size']}, {size['kilobytes']:.0f} KB"
        " | images/s per core | ratio | spread | images/s | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, of in size[task].items():
        spread = f"{of['ratio_per_core_least']:.2f} to {of['ratio_per_core_most']:.2f}"
        lines.append(
            f"| {name} | {of['images_per_core_second']:,.0f} | {of['ratio_per_core']:.2f} | {spread}"
            f" | {of['images_per_second']:,.0f} | {of['ratio_on_the_wall']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    num_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    sizes = list(measured(num_rounds))
    place = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "libjpeg_turbo": str(features.version("libjpeg_turbo")),
        "machine": platform.machine(),
        "num_cores": os.cpu_count(),
    }
    here = Path(__file__).parent
    (here / "loading.json").write_text(json.dumps({"rounds": num_rounds, **place, "sizes": sizes}, indent=2) + "\n")
    equal = ", ".join(size["size"] for size in sizes if size["evaluation_is_equal"])
    text = (
        f"{num_rounds} rounds after one left out, {place}. Ratios are medians over rounds, to torchvision with Pillow"
        f" and {NUM_AT_ONCE} workers; this library loads by {NUM_AT_ONCE} threads. Evaluation sees the very"
        f" pixels that torchvision with Pillow shows: {equal or 'nowhere'}.\n\n"
        + "\n\n".join(table(size, task) for task in ("training", "evaluation") for size in sizes)
        + "\n"
    )
    (here / "loading.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
