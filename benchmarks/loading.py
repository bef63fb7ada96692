"""How fast images load to train on, against torchvision's ImageFolder and v2: python benchmarks/loading.py [ROUNDS].

Makes JPEG files of two sizes. Every contestant gives normalised batches of random crops of at least 8 % of the area,
224 pixels a side, flipped half the time. In each round all load the same files, one after another; the first round is
left out. One core is no workers and no threads, two cores are two workers or two threads. torchvision runs as by
default, on images of Pillow, and on tensors of its own decoder, which it has to be told to use. Writes loading.json and
loading.md beside this file, in about four minutes.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import PIL
import simplejpeg
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
from resnext.data.loader import Feed, Loading, Opening, evaluation_batches
from resnext.data.network_input import network_input
from resnext.data.packed import pack
from resnext.data.sampler import Sampler
from resnext.imaging.transform import normalise
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import Augmentation

ROUNDS = 13
CORES = {"one core": 0, "two cores": 2}  # workers or threads beside the one that takes the batches
SEEN = Preprocessing(image_size=224, resize_size=256, interpolation="bilinear")
MIN_AREA = 0.08
PEERS = ("torchvision, Pillow", "torchvision, decode_image")

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
    Photographs(width=500, height=375, number=512, noise=12, quality=90, batch_size=32),
    Photographs(width=4000, height=3000, number=16, noise=9, quality=88, batch_size=4),
)


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


def contestants(root: Path, sort: Photographs, cache: Path, num_at_once: int) -> dict[str, Pass]:
    """Return what loads the files, by what tables call it."""
    dataset = images_of(root)
    found = theirs(root, sort, num_at_once)
    found["resnext"] = ours(dataset, sort, num_at_once)
    found["resnext, decoding = fast"] = ours(dataset, sort, num_at_once, opening=undecoded)
    if sort.width <= 500:
        data = Data(source=str(root), class_names=("a", "b"), splits={"train": dataset}, digest="")
        found["resnext, --cache"] = ours(pack(data, cache)[0].indexed("train"), sort, num_at_once)
    return found


def images_of(root: Path) -> EncodedImages:
    """Return the files as this library reads them."""
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))
    return EncodedImages(Files(root), names, ["ab".index(name[0]) for name in names])


def ours(dataset: Dataset, sort: Photographs, num_threads: int, opening: Opening = whole) -> Pass:
    """Return a pass of this library over the files."""
    feed = Feed(
        dataset=dataset,
        augment=augmenter(Augmentation(crop="random_resized", min_area=MIN_AREA, flip=True), SEEN),
        sampler=Sampler(num_images=sort.number, batch_size=sort.batch_size, seed=0),
        opening=opening,
        num_threads=num_threads,
    )
    return lambda: (network_input(batch, SEEN) for batch in feed.batches(1))


def theirs(root: Path, sort: Photographs, num_workers: int) -> dict[str, Pass]:
    """Return passes of torchvision: images of Pillow as by default, and tensors, normalised a batch at a time."""
    cut = [v2.RandomResizedCrop(SEEN.image_size, scale=(MIN_AREA, 1)), v2.RandomHorizontalFlip()]
    last = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(SEEN.mean, SEEN.std)])
    images = ImageFolder(root, v2.Compose([*cut, v2.ToImage(), last]))
    tensors = ImageFolder(root, v2.Compose(cut), loader=_as_tensor)
    given: dict[str, Any] = {"batch_size": sort.batch_size, "num_workers": num_workers}
    of_images, of_tensors = (
        DataLoader(files, shuffle=True, persistent_workers=num_workers > 0, **given) for files in (images, tensors)
    )
    return dict(
        zip(
            PEERS,
            (lambda: (batch for batch, _ in of_images), lambda: (last(batch) for batch, _ in of_tensors)),
            strict=True,
        )
    )


def _as_tensor(path: str) -> Any:
    return TensorImage(decode_image(path))


def seconds(load: Pass) -> float:
    """Load all files once."""
    begin = time.perf_counter()
    for _ in load():
        pass
    return time.perf_counter() - begin


def rounds_of(passes: dict[str, Pass], num_rounds: int) -> dict[str, list[float]]:
    """Let all contestants load in turn, so many rounds after one that is left out, and return their seconds."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    for number in range(num_rounds + 1):
        for name, load in passes.items():
            taken = seconds(load)
            if number:
                times[name].append(taken)
    return times


def summary(times: dict[str, list[float]], num_images: int) -> dict[str, dict[str, Any]]:
    """Return each contestant's images a second, and how many times as fast it is as each peer: quartiles of rounds."""
    found: dict[str, dict[str, Any]] = {}
    for name, taken in times.items():
        found[name] = {"images_per_second": num_images / median(taken)}
        for peer in PEERS:
            ratios = [theirs / own for theirs, own in zip(times[peer], taken, strict=True)]
            found[name][f"times {peer}"] = quantiles(ratios, n=4, method="inclusive")
    return found


def has_equal_pixels(root: Path, sort: Photographs) -> bool:
    """Tell whether this library and torchvision's default show evaluation the same, but for rounding once scaled."""
    show = v2.Compose([v2.Resize(SEEN.resize_size), v2.CenterCrop(SEEN.image_size), v2.ToImage()])
    last = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(SEEN.mean, SEEN.std)])
    theirs = DataLoader(ImageFolder(root, v2.Compose([show, last])), batch_size=sort.batch_size)
    batches = evaluation_batches(images_of(root), SEEN, Loading(batch_size=sort.batch_size))
    pairs = zip(batches, theirs, strict=True)
    return all(torch.allclose(normalise(one.pixels, SEEN), other, rtol=0, atol=1e-5) for one, (other, _) in pairs)


def measured(num_rounds: int) -> Iterator[dict[str, Any]]:
    """Yield what was measured of each size of photographs."""
    for sort in SIZES:
        with TemporaryDirectory() as folder:
            root, cache = Path(folder, "photographs"), Path(folder, "cache")
            kilobytes = write(root, sort)
            yield {
                "size": sort.title,
                "kilobytes": kilobytes,
                "evaluation_is_equal": has_equal_pixels(root, sort),
                **{
                    cores: summary(rounds_of(contestants(root, sort, cache, number), num_rounds), sort.number)
                    for cores, number in CORES.items()
                },
            }


def table(size: dict[str, Any], cores: str) -> str:
    """Lay out what was measured of a size by so many cores."""
    title = f"{size['size']}, {size['kilobytes']:.0f} KB, {cores}"
    lines = [f"| {title} | images/s | times {' | times '.join(PEERS)} |", "|---|---:|---:|---:|"]
    for name, of in size[cores].items():
        ratios = (
            "{1:.2f} ({0:.2f} to {2:.2f})".format(*of[f"times {peer}"]) if name != peer else "1" for peer in PEERS
        )
        lines.append(f"| {name} | {of['images_per_second']:,.0f} | {' | '.join(ratios)} |")
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
        "simplejpeg": simplejpeg.__version__,
        "machine": platform.machine(),
        "num_cores": os.cpu_count(),
    }
    here = Path(__file__).parent
    (here / "loading.json").write_text(json.dumps({"rounds": num_rounds, **place, "sizes": sizes}, indent=2) + "\n")
    equal = ", ".join(size["size"] for size in sizes if size["evaluation_is_equal"])
    text = (
        f"{num_rounds} rounds after one left out, {place}. Ratios are medians over rounds, with their quartiles."
        f" Evaluation sees the very pixels that torchvision with Pillow shows: {equal or 'nowhere'}.\n\n"
        + "\n\n".join(table(size, cores) for size in sizes for cores in CORES)
        + "\n"
    )
    (here / "loading.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
