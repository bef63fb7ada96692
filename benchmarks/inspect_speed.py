"""What `inspect` costs beyond decoding, an image of 500x375: python benchmarks/inspect_speed.py.

Makes JPEG files, and for each in turn times plain decoding and a look, so that a busy machine slows both alike; then
what opening the folder and comparing the images add, and how long comparing a hundred thousand takes. Writes
inspect_speed.json and inspect_speed.md beside this file.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from resnext.data.compared import Collection, Compared
from resnext.data.copies import copies
from resnext.data.dataset import Indexed
from resnext.data.inspect import conclude
from resnext.data.look import look
from resnext.data.open import open_data
from resnext.imaging.decode import decode, read
from resnext.imaging.fingerprint import Fingerprint, fingerprint

NUM_IMAGES = 400
ROUNDS = 3
NUM_COMPARED = 100_000
NUM_OF_ONE_LAYOUT = 60_000
LIMIT_MS = 2.0


def photograph(seed: int, width: int = 500, height: int = 375) -> Image.Image:
    """Make an image with structure at every scale, about as hard to decode as a photograph."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for side in (4, 8, 16, 32, 64, 128):
        cells = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        total += np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC)) / side
    total = 255 * (total - total.min()) / np.ptp(total)
    return Image.fromarray(total.astype(np.uint8)).filter(ImageFilter.UnsharpMask(2))


def milliseconds(work: Callable[[], object]) -> float:
    """Do something once and return its wall time."""
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def measured(root: Path) -> dict[str, float]:
    """Return milliseconds an image: decoding, looking, and what opening and concluding add."""
    for number in range(NUM_IMAGES):
        folder = root / ("cats", "dogs")[number % 2]
        folder.mkdir(exist_ok=True)
        photograph(number).save(folder / f"{number}.jpg", quality=90)
    data = open_data(str(root), examines=False)
    places = [
        (split, Indexed(data.indexed(split), index))
        for split, dataset in data.splits.items()
        for index in range(len(dataset.labels))
    ]
    decoding, looking = [], []
    for _ in range(ROUNDS):
        for split, picture in places:
            path = root / picture.name
            decoding.append(milliseconds(lambda path=path: decode(read(path))))  # type: ignore[misc]
            looking.append(milliseconds(lambda split=split, picture=picture: look(data, split, picture)))  # type: ignore[misc]
    looks = [look(data, split, picture) for split, picture in places]
    opening = median(milliseconds(lambda: open_data(str(root), examines=False)) for _ in range(ROUNDS))
    concluding = median(milliseconds(lambda: conclude(str(root), data, looks)) for _ in range(ROUNDS))
    return {
        "decoding_ms": median(decoding),
        "looking_ms": median(looking),
        "beyond_decoding_ms": median(seen - plain for seen, plain in zip(looking, decoding, strict=True)),
        "opening_ms": opening / NUM_IMAGES,
        "concluding_ms": concluding / NUM_IMAGES,
    }


def comparing_seconds() -> float:
    """Return how long it takes to compare many small images of a few hundred motifs, a hundredth of them copies."""
    rng = np.random.default_rng(0)
    motifs = [np.asarray(photograph(seed, 32, 32)).astype(int) for seed in range(300)]
    images = Collection()
    while len(images.aspects) < NUM_COMPARED:
        motif = motifs[len(images.aspects) % len(motifs)]
        pixels = motif + np.roll(motifs[int(rng.integers(300))], rng.integers(32), axis=1)
        for _ in range(1 + (len(images.aspects) % 100 == 0)):
            images.add(noisy(pixels // 2, rng), 500, 375)
    return seconds_of(images)


def layout_seconds() -> float:
    """Return how long it takes to compare images of one layout, as forms are: each has marks of its own."""
    rng = np.random.default_rng(0)
    layout = np.kron(rng.integers(60, 190, (8, 8)), np.ones((4, 4), int))
    images = Collection()
    for _ in range(NUM_OF_ONE_LAYOUT):
        picture = (layout + (16 * rng.normal(size=(32, 32))).astype(int)).clip(0, 255).astype(np.uint8)
        images.add(Fingerprint(pixels=rng.bytes(16), bits=bytes(8), grey=picture.tobytes()), 500, 375)
    return seconds_of(images)


def noisy(pixels: NDArray[np.int_], rng: np.random.Generator) -> Fingerprint:
    """Return the fingerprint of pixels with a little noise, as every encoding leaves."""
    values = pixels + rng.integers(-2, 3, pixels.shape)
    return fingerprint(Image.fromarray(values.clip(0, 255).astype(np.uint8)))


def seconds_of(images: Collection) -> float:
    """Return how long it takes to find the copies among images."""
    return milliseconds(lambda: copies(Compared.of(images))) / 1000


def main() -> None:
    """Measure, print and write."""
    with TemporaryDirectory() as folder:
        figures = measured(Path(folder))
    figures["total_beyond_decoding_ms"] = sum(
        figures[name] for name in ("beyond_decoding_ms", "opening_ms", "concluding_ms")
    )
    seconds, of_one_layout = comparing_seconds(), layout_seconds()
    place = {"python": platform.python_version(), "machine": platform.machine(), "num_cores": os.cpu_count()}
    here = Path(__file__).parent
    written = {"images": NUM_IMAGES, "rounds": ROUNDS, "limit_ms": LIMIT_MS, **place, "an_image": figures}
    written |= {"compared": NUM_COMPARED, "comparing_seconds": seconds}
    written |= {"of_one_layout": NUM_OF_ONE_LAYOUT, "layout_seconds": of_one_layout}
    (here / "inspect_speed.json").write_text(json.dumps(written, indent=2) + "\n")
    lines = ["| of an image of 500x375 | ms |", "|---|---:|"]
    lines += [f"| {name.removesuffix('_ms').replace('_', ' ')} | {value:.2f} |" for name, value in figures.items()]
    text = (
        f"{NUM_IMAGES} JPEG files, {ROUNDS} rounds in pairs with plain decoding, one thread, {place}; the limit beyond"
        f" decoding is {LIMIT_MS} ms.\n\n" + "\n".join(lines) + f"\n\nComparing {NUM_COMPARED:,} images takes"
        f" {seconds:.0f} seconds, {NUM_OF_ONE_LAYOUT:,} of one layout {of_one_layout:.0f}.\n"
    )
    (here / "inspect_speed.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
