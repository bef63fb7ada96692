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
from PIL import Image, ImageFilter

from resnext.data.copies import Sample, copies
from resnext.data.inspect import conclude
from resnext.data.look import look
from resnext.data.open import open_data
from resnext.imaging.decode import decode, read
from resnext.imaging.fingerprint import fingerprint

NUM_IMAGES = 400
ROUNDS = 3
NUM_COMPARED = 100_000
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
    places = [(split, index) for split, dataset in data.splits.items() for index in range(len(dataset.labels))]
    decoding, looking = [], []
    for _ in range(ROUNDS):
        for split, index in places:
            path = root / data.indexed(split).name(index)
            decoding.append(milliseconds(lambda path=path: decode(read(path))))  # type: ignore[misc]
            looking.append(milliseconds(lambda split=split, index=index: look(data, split, index)))  # type: ignore[misc]
    looks = [look(data, split, index) for split, index in places]
    opening = median(milliseconds(lambda: open_data(str(root), examines=False)) for _ in range(ROUNDS))
    concluding = median(milliseconds(lambda: conclude(data, looks)) for _ in range(ROUNDS))
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
    samples: list[Sample] = []
    while len(samples) < NUM_COMPARED:
        pixels = motifs[len(samples) % len(motifs)] + np.roll(motifs[int(rng.integers(300))], rng.integers(32), axis=1)
        image = Image.fromarray((pixels // 2 + rng.integers(-2, 3, pixels.shape)).clip(0, 255).astype(np.uint8))
        samples.extend([Sample(fingerprint(image), 500, 375)] * (1 + (len(samples) % 100 == 0)))
    return milliseconds(lambda: copies(samples)) / 1000


def main() -> None:
    """Measure, print and write."""
    with TemporaryDirectory() as folder:
        figures = measured(Path(folder))
    figures["total_beyond_decoding_ms"] = sum(
        figures[name] for name in ("beyond_decoding_ms", "opening_ms", "concluding_ms")
    )
    seconds = comparing_seconds()
    place = {"python": platform.python_version(), "machine": platform.machine(), "num_cores": os.cpu_count()}
    here = Path(__file__).parent
    written = {"images": NUM_IMAGES, "rounds": ROUNDS, "limit_ms": LIMIT_MS, **place, "an_image": figures}
    written |= {"compared": NUM_COMPARED, "comparing_seconds": seconds}
    (here / "inspect_speed.json").write_text(json.dumps(written, indent=2) + "\n")
    lines = ["| of an image of 500x375 | ms |", "|---|---:|"]
    lines += [f"| {name.removesuffix('_ms').replace('_', ' ')} | {value:.2f} |" for name, value in figures.items()]
    text = (
        f"{NUM_IMAGES} JPEG files, {ROUNDS} rounds in pairs with plain decoding, one thread, {place}; the limit beyond"
        f" decoding is {LIMIT_MS} ms.\n\n" + "\n".join(lines) + f"\n\nComparing {NUM_COMPARED:,} images takes"
        f" {seconds:.0f} seconds.\n"
    )
    (here / "inspect_speed.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
