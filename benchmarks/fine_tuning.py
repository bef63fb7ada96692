"""Whether fine-tuning beats training from scratch: python benchmarks/fine_tuning.py SIGN_DIGITS.

SIGN_DIGITS is a folder with a folder of photographs for each of the signs 0 to 9. A source is trained on 0 to 4 by
`quick`. Then a tenth of the photographs of 5 to 9 is learnt, from scratch and from the source, by `quick` with all that
it chooses, for three seeds each, and scored on all other photographs of 5 to 9. A tenth of what is learnt from, drawn
by `quick`, chooses the epoch. Writes fine_tuning.json and fine_tuning.md beside this file. `--set` changes all runs by
`quick` alike, and `--source` takes a source that was trained before.
"""

import argparse
import json
import os
import platform
import random
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import resnext
from resnext.spec.override import parse_overrides
from resnext.spec.recipe import Recipe

SOURCE_CLASSES, TARGET_CLASSES = "01234", "56789"
SEEDS = (0, 1, 2)
TENTH = 10
WAYS = {"from scratch": False, "fine-tuned": True}


def link_source(photos: Path, folder: Path) -> None:
    """Link the photographs of the source's classes into a folder."""
    for name in SOURCE_CLASSES:
        (folder / name).mkdir(parents=True)
        for path in sorted((photos / name).iterdir()):
            (folder / name / path.name).symlink_to(path.resolve())


def link_target(photos: Path, folder: Path, seed: int) -> None:
    """Link a tenth of each target class, drawn by the seed, into `train`, and the others into `test`."""
    for name in TARGET_CLASSES:
        paths = sorted((photos / name).iterdir())
        random.Random(f"{seed} {name}").shuffle(paths)
        num_training = round(len(paths) / TENTH)
        for split, part in (("train", paths[:num_training]), ("test", paths[num_training:])):
            (folder / split / name).mkdir(parents=True)
            for path in part:
                (folder / split / name / path.name).symlink_to(path.resolve())


def learn(data: Path, out: Path, recipe: Recipe, start: Path | None, seed: int) -> dict[str, Any]:
    """Train once and return what came of it."""
    result = resnext.train(str(data), recipe, out, start=None if start is None else str(start), seed=seed)
    resolved = resnext.read_recipe(str(out / "recipe.toml"))
    measured = result.test or result.best
    assert measured is not None, "a whole run is scored"
    row = {
        "seed": seed,
        "top1_error_percent": measured.top1_error_percent,
        "num_images": measured.num_images,
        "split": measured.split,
        "epochs": resolved.epochs,
        "learning_rate": resolved.optimiser.learning_rate,
        "fine_tuning": resolved.fine_tuning.model_dump(),
        "wall_seconds": result.wall_seconds,
    }
    print(
        f"{out.name}: {measured.top1_error_percent:.2f} % on {measured.num_images} {measured.split} images", flush=True
    )
    return row


def measure(photos: Path, folder: Path, recipe: Recipe, source: Path | None) -> dict[str, Any]:
    """Train the source, unless it is there, then each way with each seed."""
    found: dict[str, Any] = {}
    if source is None:
        link_source(photos, folder / "source")
        found["source"] = learn(folder / "source", folder / "source-run", recipe, None, 0)
        source = folder / "source-run" / "best.safetensors"
    found["ways"] = {name: [] for name in WAYS}
    for seed in SEEDS:
        data = folder / f"target-{seed}"
        link_target(photos, data, seed)
        for name, is_tuned in WAYS.items():
            out = folder / f"{name.replace(' ', '-')}-{seed}"
            found["ways"][name].append(learn(data, out, recipe, source if is_tuned else None, seed))
    return found


def table(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| | epochs | test errors, % (a seed each) | mean, % | wall seconds, mean |",
        "|---|---:|---|---:|---:|",
    ]
    for name, rows in found["ways"].items():
        errors = [row["top1_error_percent"] for row in rows]
        seconds = mean(row["wall_seconds"] for row in rows)
        listed = ", ".join(f"{error:.2f}" for error in errors)
        lines.append(f"| {name} | {rows[0]['epochs']} | {listed} | {mean(errors):.2f} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--source", type=Path)
    options = parser.parse_args()
    recipe = resnext.read_recipe("quick", parse_overrides(options.settings))
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.photos, Path(folder), recipe, options.source)
    place = {"python": platform.python_version(), "torch": torch.__version__, "num_cores": os.cpu_count()}
    here = Path(__file__).parent
    (here / "fine_tuning.json").write_text(
        json.dumps({"settings": options.settings, **place, **found}, indent=2) + "\n"
    )
    text = f"Sign digits 5 to 9, a tenth of their photographs, weights from 0 to 4; {place}.\n\n{table(found)}"
    (here / "fine_tuning.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
