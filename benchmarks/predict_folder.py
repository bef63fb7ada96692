"""How fast a folder is classified, from the shell: python benchmarks/predict_folder.py [ROUNDS] [IMAGES].

Makes photographs of 500x375, a ResNeXt-50 32x4d with initial weights, centred so that its answers differ, and the same
weights for torchvision. In each round `resnext predict` and a plain script of torchvision (ImageFolder of Pillow's
images, a DataLoader with two workers, eager) classify all of them, one after the other, each as a process of its own,
so that starting counts too. The engine is chosen before the first round, and remembered. Both have to give the same
class for every image. Writes predict_folder.json and predict_folder.md beside this file, in about a quarter of an hour.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torchvision
from PIL import Image

import resnext
from resnext.artefact.manifest import Manifest
from resnext.artefact.store import save_artefact
from resnext.imaging.transform import central_crop, normalise, stack
from resnext.model.device import processor
from resnext.spec.preprocessing import Preprocessing

ROUNDS, IMAGES = 3, 2000
NAME = "resnext50_32x4d"
BATCH_SIZE = 32
OURS, PEER = "resnext predict", "torchvision script"
GOAL = 1.6
SEEN = Preprocessing(image_size=224, resize_size=256, interpolation="bilinear")

PLAIN = f"""
import sys
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import {NAME}
from torchvision.transforms import v2

steps = v2.Compose([
    v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True),
    v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])
weights, folder = sys.argv[1:]
network = {NAME}().eval()
network.load_state_dict(torch.load(weights, weights_only=True))
data = ImageFolder(folder, steps)
with torch.inference_mode():
    for pixels, _ in DataLoader(data, batch_size={BATCH_SIZE}, num_workers=2):
        print(*network(pixels).argmax(dim=1).tolist(), sep="\\n", flush=True)
"""


def write_photographs(folder: Path, number: int) -> None:
    """Write images of coarse and fine structure and noise, each another one, in one class folder."""
    folder.mkdir(parents=True)
    for index in range(number):
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        fine = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        mixed = 0.7 * np.asarray(coarse) + 0.3 * np.asarray(fine) + rng.normal(0, 6, (375, 500, 1))
        Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(folder / f"{index:04}.jpg", quality=90)


@torch.no_grad()
def write_weights(place: Path) -> tuple[Path, Path]:
    """Write the same weights as an artefact and as torchvision's state dict; they say no class more than others."""
    network = resnext.build(NAME, generator=torch.Generator().manual_seed(0)).eval()
    some = [central_crop(Image.open(path), SEEN) for path in sorted((place / "photos").rglob("*.jpg"))[:64]]
    network.head.bias.sub_(network(normalise(stack(some), SEEN)).mean(dim=0))
    names = tuple(str(number) for number in range(network.architecture.num_classes))
    manifest = Manifest(architecture=network.architecture, preprocessing=SEEN, class_names=names)
    save_artefact(place / "model.safetensors", network, manifest)
    torch.save(resnext.export_weights(network, naming="torchvision"), place / "theirs.pth")
    return place / "model.safetensors", place / "theirs.pth"


def timed(command: list[str]) -> tuple[float, str, str]:
    """Run a process and return its seconds, what it printed and what it said."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout, done.stderr


def main(num_rounds: int = ROUNDS, num_images: int = IMAGES) -> None:
    """Measure, and write what was found."""
    with TemporaryDirectory() as made:
        place = Path(made)
        write_photographs(place / "photos" / "all", num_images)
        artefact, theirs = write_weights(place)
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        ours = [sys.executable, "-m", "resnext", "predict", str(artefact), str(place / "photos"), "--json"]
        plain = [sys.executable, "-c", PLAIN, str(theirs), str(place / "photos")]
        _, _, said = timed(ours)
        seconds: dict[str, list[float]] = {OURS: [], PEER: []}
        for _ in range(num_rounds):
            taken, out, _ = timed(ours)
            seconds[OURS].append(taken)
            answers = [int(json.loads(line)["predictions"][0]["label"]) for line in out.splitlines()]
            taken, out, _ = timed(plain)
            seconds[PEER].append(taken)
            expected = [int(line) for line in out.split()]
    same = sum(one == other for one, other in zip(answers, expected, strict=True))
    report(seconds, {"num_images": num_images, "num_same_top1": same, "num_classes_seen": len(set(expected))}, said)


def report(seconds: dict[str, list[float]], counts: dict[str, int], said: str) -> None:
    """Write the figures as JSON and as a page."""
    ratios = [peer / own for peer, own in zip(seconds[PEER], seconds[OURS], strict=True)]
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "python": platform.python_version()}
    found = {
        **counts,
        "seconds": seconds,
        "times_as_fast": ratios,
        "goal": GOAL,
        "engine": said.strip(),
        "num_threads": torch.get_num_threads(),
        "processor": processor(torch.device("cpu")),
        "versions": versions,
    }
    rows = [f"| {name} | {median(each):.1f} | {min(each):.1f} to {max(each):.1f} |" for name, each in seconds.items()]
    lines = [
        "# Classifying a folder, from the shell",
        "",
        f"{counts['num_images']} photographs of 500x375, {NAME}, fp32; {found['engine']}.",
        "",
        f"| {len(ratios)} rounds | seconds, median | range |",
        "|---|---|---|",
        *rows,
        "",
        f"`resnext predict` is {median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f};"
        f" goal {GOAL}), with the same class for {counts['num_same_top1']} of {counts['num_images']} images, which fall"
        f" into {counts['num_classes_seen']} classes.",
        "",
        f"{found['processor']}, {found['num_threads']} threads;"
        f" {', '.join(f'{name} {number}' for name, number in versions.items())}.",
    ]
    here = Path(__file__).with_suffix("")
    here.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    here.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
