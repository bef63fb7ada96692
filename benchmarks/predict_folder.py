"""How fast a folder is classified, from the shell: python benchmarks/predict_folder.py [ROUNDS] [IMAGES].

Makes photographs of 500x375, a ResNeXt-50 32x4d with initial weights, centred so that its answers differ, and the same
weights for torchvision. In each round `resnext predict` and a plain script of torchvision (ImageFolder of Pillow's
images, a DataLoader with two workers, eager) classify all of them, one after the other, each as a process of its own,
so that starting counts too. The engine is chosen before the first round, and remembered. Both have to give the same
class for every image. `resnext predict` also takes the weights exported in int8, calibrated on some of the photographs;
its answers are counted beside those in fp32. Initial weights tell a thousand classes apart by next to nothing, so that
this counts how the nearest of calls fall, not what int8 costs a trained network. Writes predict_folder.json and
predict_folder.md beside this file, in about a quarter of an hour.
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
from resnext.inference.export import Images, Int8
from resnext.model.device import processor
from resnext.spec.preprocessing import Preprocessing

ROUNDS, IMAGES = 3, 2000
NAME = "resnext50_32x4d"
BATCH_SIZE = 32
OURS, INT8, PEER = "resnext predict", "resnext predict, int8", "torchvision script"
GOALS = {OURS: 1.6, INT8: 3.0}
NUM_CALIBRATING = 128
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


def write_int8(artefact: Path, photographs: Path) -> Path:
    """Export the weights in int8, however far their answers move: there is no accuracy to be guarded."""
    some = sorted(photographs.rglob("*.jpg"))[:NUM_CALIBRATING]
    int8 = Int8(some, score=lambda _: 100.0)
    return resnext.export(artefact, "openvino", images=Images("the photographs", some), int8=int8).path


def timed(command: list[str]) -> tuple[float, str, str]:
    """Run a process and return its seconds, what it printed and what it said."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout, done.stderr


def main(num_rounds: int = ROUNDS, num_images: int = IMAGES) -> None:
    """Measure, and write what was found."""
    with TemporaryDirectory() as made:
        place = Path(made)
        photographs = place / "photos"
        write_photographs(photographs / "all", num_images)
        artefact, theirs = write_weights(place)
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        ours = [sys.executable, "-m", "resnext", "predict"]
        commands = {
            OURS: [*ours, str(artefact), str(photographs), "--json"],
            INT8: [*ours, str(write_int8(artefact, photographs)), str(photographs), "--json"],
            PEER: [sys.executable, "-c", PLAIN, str(theirs), str(photographs)],
        }
        _, _, said = timed(commands[OURS])
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        answers: dict[str, list[int]] = {}
        for _ in range(num_rounds):
            for name, command in commands.items():
                taken, out, _ = timed(command)
                seconds[name].append(taken)
                answers[name] = [_class(line) for line in out.splitlines()]
    counts = {
        "num_images": num_images,
        "num_same_top1": num_same(answers[OURS], answers[PEER]),
        "num_same_top1_in_int8": num_same(answers[INT8], answers[OURS]),
        "num_classes_seen": len(set(answers[PEER])),
    }
    report(seconds, counts, said)


def num_same(these: list[int], those: list[int]) -> int:
    """Count to how many images both give the same class."""
    return sum(one == other for one, other in zip(these, those, strict=True))


def _class(line: str) -> int:
    """Read a line of ours, which is JSON, or of the script's, which is the class."""
    return int(json.loads(line)["predictions"][0]["label"]) if line.startswith("{") else int(line)


def _words(ratios: list[float], goal: float) -> str:
    return f"{median(ratios):.2f} times as fast as the script ({min(ratios):.2f} to {max(ratios):.2f}; goal {goal})"


def report(seconds: dict[str, list[float]], counts: dict[str, int], said: str) -> None:
    """Write the figures as JSON and as a page."""
    ratios = {
        name: [peer / own for peer, own in zip(seconds[PEER], seconds[name], strict=True)] for name in (OURS, INT8)
    }
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "python": platform.python_version()}
    found = {
        **counts,
        "seconds": seconds,
        "times_as_fast": ratios,
        "goals": GOALS,
        "engine": said.strip(),
        "num_threads": torch.get_num_threads(),
        "processor": processor(torch.device("cpu")),
        "versions": versions,
    }
    rows = [f"| {name} | {median(each):.1f} | {min(each):.1f} to {max(each):.1f} |" for name, each in seconds.items()]
    lines = [
        "# Classifying a folder, from the shell",
        "",
        f"{counts['num_images']} photographs of 500x375, {NAME}; fp32: {found['engine']}.",
        "",
        f"| {len(seconds[PEER])} rounds | seconds, median | range |",
        "|---|---|---|",
        *rows,
        "",
        f"`resnext predict` is {_words(ratios[OURS], GOALS[OURS])}, with the same class for"
        f" {counts['num_same_top1']} of {counts['num_images']} images, which fall into"
        f" {counts['num_classes_seen']} classes.",
        "",
        f"In int8 it is {_words(ratios[INT8], GOALS[INT8])}, with the class of fp32 for"
        f" {counts['num_same_top1_in_int8']} images; the weights are initial ones, whose classes are all but ties.",
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
