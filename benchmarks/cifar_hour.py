"""CIFAR-10 on a CPU, one recipe after another, equally many epochs: python benchmarks/cifar_hour.py cifar10:ROOT.

    python benchmarks/cifar_hour.py cifar10:ROOT --epochs 8 [--recipes quick modern] [--out runs/cifar-hour]

Each is trained as `resnext train` trains it, but for the number of epochs; a run that was stopped goes on when this is
started again. Best epochs are chosen on the test set, as the authors do, and the last epoch stands beside them. Writes
cifar_hour.json and cifar_hour.md beside this file.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def train(data: str, recipe: str, epochs: int, out: Path) -> None:
    """Train by a recipe, or go on training."""
    command = [sys.executable, "-m", "resnext", "train", data, "--recipe", recipe, "--set", f"epochs={epochs}"]
    subprocess.run([*command, "--out", str(out), "--resume"], check=True)


def lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def outcome(recipe: str, out: Path) -> dict[str, Any]:
    """Return what a finished run reached, and in what time."""
    *_, end = (event for event in lines(out / "events.jsonl") if event["event"] == "end")
    attempt = lines(out / "attempts.jsonl")[-1]
    return {
        "recipe": recipe,
        "epochs": end["num_epochs"],
        "best_epoch": end["best_epoch"],
        "best_test_top1_error_percent": end["best"]["top1_error_percent"],
        "last_test_top1_error_percent": end["last"]["top1_error_percent"],
        "minutes": end["wall_seconds"] / 60,
        "resolved": (out / "recipe.toml").read_text(),
        "versions": attempt["versions"],
        "commit": attempt["commit"],
        "num_cores": os.cpu_count(),
    }


def main() -> None:
    """Parse, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10:ROOT")
    parser.add_argument("--epochs", type=int, required=True, help="of each run")
    parser.add_argument("--recipes", nargs="+", default=["quick", "modern"], help="names or .toml files")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar-hour"), help="where the run folders go")
    options = parser.parse_args()
    outcomes = []
    for recipe in options.recipes:
        out = options.out / Path(recipe).stem
        train(options.data, recipe, options.epochs, out)
        outcomes.append(outcome(recipe, out))
    here = Path(__file__)
    here.with_suffix(".json").write_text(json.dumps(outcomes, indent=2) + "\n")
    rows = [
        f"| {row['recipe']} | {row['epochs']} | {100 - row['last_test_top1_error_percent']:.2f} |"
        f" {100 - row['best_test_top1_error_percent']:.2f} | {row['minutes']:.0f} |"
        for row in outcomes
    ]
    header = "| recipe | epochs | last epoch, test accuracy % | best epoch, chosen on test % | minutes |"
    title = f"CIFAR-10 on {os.cpu_count()} cores, seed 0."
    text = "\n".join([title, "", header, "|---|---:|---:|---:|---:|", *rows, ""])
    here.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
