"""How soon a folder as large as ImageNet opens, and in how much memory: python benchmarks/large_folder.py [FOLDER].

Makes a folder of 1,281,167 training and 50,000 validation files in 1,000 classes, all of them hard links to a few
JPEG images (it takes some 1.3 million directory entries, hardly any bytes), opens it in fresh processes, and goes
three epochs through its training images, augmented, without a network. Writes large_folder.json and large_folder.md
beside this file. Without FOLDER, the folder is a temporary one and deleted at the end; a FOLDER that exists is taken
for one made before. Linux only: memory is read from /proc.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from contextlib import closing
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

NUM_TRAINING, NUM_VALIDATION, NUM_CLASSES = 1_281_167, 50_000, 1_000
IMAGE_SIDE, NETWORK_SIDE = 40, 32
MOST_LINKS = 60_000
SECONDS_TO_SETTLE = 3
NUM_EPOCHS, MOST_SECONDS_PER_EPOCH = 3, 600
BATCH_SIZE = 256
LIMITS = {"first_seconds": 20, "again_seconds": 2, "resident_mib": 1024}
PACKAGES = ("torch", "numpy", "pillow")
MIB = 2**20


def make(root: Path, sources: Path) -> None:
    """Make the folder of hard links, and what they lead to; a file may have some 65,000 of them."""
    sources.mkdir(parents=True)
    rng = np.random.default_rng(0)
    originals = []
    for number in range(-(-(NUM_TRAINING + NUM_VALIDATION) // MOST_LINKS)):
        originals.append(sources / f"{number}.jpg")
        pixels = rng.integers(0, 256, (IMAGE_SIDE, IMAGE_SIDE + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(originals[-1])
    next_original = cycle(map(str, originals))
    for split, num_images in (("train", NUM_TRAINING), ("val", NUM_VALIDATION)):
        for label in range(NUM_CLASSES):
            folder = root / split / f"n{label:08}"
            folder.mkdir(parents=True)
            for number in range(label, num_images, NUM_CLASSES):
                os.link(next(next_original), f"{folder}/n{label:08}_{number}.JPEG")


def opened(root: Path) -> dict[str, Any]:
    """Open the folder; return seconds and the most memory that this process had resident."""
    from resnext.data.open import open_data  # noqa: PLC0415

    started = time.perf_counter()
    data = open_data(str(root))
    seconds = time.perf_counter() - started
    assert [len(data.split(name).labels) for name in ("train", "val")] == [NUM_TRAINING, NUM_VALIDATION]
    return {"open_seconds": seconds, "torch": "torch" in sys.modules, "peak_mib": peak_mib()}


def opened_beside_torch(root: Path) -> dict[str, Any]:
    """Do the same in a process that has loaded torch, as one that trains has."""
    import torch  # noqa: F401, PLC0415

    return opened(root)


def looped(root: Path) -> dict[str, Any]:
    """Go through the training images; return the memory that this process had resident after each epoch."""
    from resnext.data.augment import augmenter  # noqa: PLC0415
    from resnext.data.loader import Feed  # noqa: PLC0415
    from resnext.data.open import open_data  # noqa: PLC0415
    from resnext.data.sampler import Sampler  # noqa: PLC0415
    from resnext.spec.preprocessing import Preprocessing  # noqa: PLC0415
    from resnext.spec.recipe import Augmentation  # noqa: PLC0415

    preprocessing = Preprocessing(image_size=NETWORK_SIDE, resize_size=NETWORK_SIDE)
    augmentation = Augmentation(crop="random_resized", min_area=0.08, max_rotation_degrees=0, flip=True)
    feed = Feed(
        dataset=open_data(str(root)).indexed("train"),
        augment=augmenter(augmentation, preprocessing),
        sampler=Sampler(num_images=NUM_TRAINING, batch_size=BATCH_SIZE, seed=0),
        num_threads=os.cpu_count() or 1,
    )
    epochs = [{"epoch": 0, "num_images": 0, "seconds": 0.0, "resident_mib": resident_mib()}]
    for epoch in range(1, NUM_EPOCHS + 1):
        started, num_images = time.perf_counter(), 0
        with closing(feed.batches(epoch)) as batches:  # type: ignore[type-var]
            for batch in batches:
                num_images += len(batch.labels)
                if time.perf_counter() - started > MOST_SECONDS_PER_EPOCH:
                    break
        seconds = time.perf_counter() - started
        epochs.append({"epoch": epoch, "num_images": num_images, "seconds": seconds, "resident_mib": resident_mib()})
    return {"epochs": epochs, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """Return the most memory that this process had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mib() -> float:
    """Return the memory that this process has resident now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MIB


PROBES = {probe.__name__: probe for probe in (opened, opened_beside_torch, looped)}


def in_a_fresh_process(probe: str, root: Path, cache: Path) -> dict[str, Any]:
    """Run a probe with the caches of a user who has only `cache`; return what it found and its whole wall time."""
    started = time.perf_counter()
    command = [sys.executable, __file__, str(root), "--probe", probe]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return {**json.loads(answer.stdout), "process_seconds": time.perf_counter() - started}


def measured(root: Path) -> dict[str, Any]:
    """Open the folder for the first time and again, without torch and beside it, and loop over it."""
    openings = []
    for probe in ("opened", "opened_beside_torch"):
        with TemporaryDirectory() as cache:
            for time_of_opening in ("first", "again", "again"):
                openings.append({"opening": time_of_opening, **in_a_fresh_process(probe, root, Path(cache))})
                print(openings[-1], flush=True)
            num_bytes = sum(path.stat().st_size for path in Path(cache).rglob("*.npz"))
    with TemporaryDirectory() as cache:
        loop = in_a_fresh_process("looped", root, Path(cache))
    return {"openings": openings, "cache_file_mib": num_bytes / MIB, "loop": loop}


def report(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [
        f"{NUM_TRAINING:,} training and {NUM_VALIDATION:,} validation files in {NUM_CLASSES:,} classes, hard links to"
        f" JPEG images of about {IMAGE_SIDE} pixels square; {result['place']}. The system had the folders in its own"
        f" cache. The index kept for the next opening takes {result['cache_file_mib']:.0f} MiB on disk.",
        "",
        "| opening | torch loaded | open s | limit s | whole process s | peak MiB | limit MiB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["openings"]:
        limit = LIMITS[f"{row['opening']}_seconds"]
        seconds = f"{row['open_seconds']:.2f} | {limit} | {row['process_seconds']:.2f}"
        torch = "yes" if row["torch"] else "no"
        lines.append(f"| {row['opening']} | {torch} | {seconds} | {row['peak_mib']:.0f} | {LIMITS['resident_mib']} |")
    lines += [
        "",
        f"Training batches of {BATCH_SIZE}, decoded, cropped and flipped by {os.cpu_count()} threads, without a"
        f" network; an epoch is cut after {MOST_SECONDS_PER_EPOCH} s where it takes longer. First opening and loop in"
        f" one process; its peak was {result['loop']['peak_mib']:.0f} MiB.",
        "",
        "| epoch | images | s | resident MiB after it |",
        "|---|---:|---:|---:|",
    ]
    for row in result["loop"]["epochs"]:
        name = row["epoch"] or "opened"
        lines.append(f"| {name} | {row['num_images']:,} | {row['seconds']:.0f} | {row['resident_mib']:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--probe", choices=PROBES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        print(json.dumps(PROBES[options.probe](options.folder)))
        return
    with TemporaryDirectory() as temporary:
        place = options.folder or Path(temporary)
        if not (place / "images").exists():
            make(place / "images", place / "originals")
            time.sleep(SECONDS_TO_SETTLE)  # an index of folders that have just changed is not kept
        result = measured(place / "images")
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    result = {"place": {**versions, "machine": platform.machine(), "num_cores": os.cpu_count()}, **result}
    here = Path(__file__).parent
    (here / "large_folder.json").write_text(json.dumps({"limits": LIMITS, **result}, indent=2) + "\n")
    (here / "large_folder.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
