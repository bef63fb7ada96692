"""Train by the paper's CIFAR recipe on a GPU, as far as a number of minutes allows, and write down every epoch.

    python benchmarks/gpu/paper_cifar.py cifar10:ROOT --minutes 25 [--out RUN] [--set epochs=30 ...]

Other options go to `resnext train`. The run is stopped in order when its time is over; started again with the same
folder, it goes on. Writes paper_cifar.json and paper_cifar.md beside this file.
"""

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

INTERRUPTED = 128 + signal.SIGTERM


def train(options: argparse.Namespace, rest: list[str]) -> None:
    """Train, or go on training, until the run or its time is over."""
    command = [sys.executable, "-m", "resnext", "train", options.data, "--recipe", "paper-cifar", *rest]
    process = subprocess.Popen([*command, "--out", str(options.out), "--resume", "--checkpoint-every", "2min"])
    try:
        status = process.wait(timeout=60 * options.minutes)
    except subprocess.TimeoutExpired:
        process.terminate()
        status = process.wait()
    if status not in (0, INTERRUPTED):
        raise SystemExit(f"training ended with status {status}")


def lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(out: Path) -> None:
    """Write what the run has learnt so far."""
    events = lines(out / "events.jsonl")
    attempts = [
        {key: attempt[key] for key in ("device", "num_processes", "versions", "commit", "after_step")}
        for attempt in lines(out / "attempts.jsonl")
    ]
    epochs = [
        {
            "epoch": event["epoch"],
            "learning_rate": event["learning_rate"],
            "train_loss": event["train_loss"],
            "train_top1_error_percent": event["train_top1_error_percent"],
            "test_top1_error_percent": event["scores"]["top1_error_percent"],
            "images_per_second": event["images_per_second"],
        }
        for event in events
        if event["event"] == "epoch"
    ]
    recipe = (out / "recipe.toml").read_text()
    here = Path(__file__)
    facts = {"recipe": recipe, "attempts": attempts, "epochs": epochs}
    here.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
    rows = [
        f"| {row['epoch']} | {row['learning_rate']:.3g} | {row['train_top1_error_percent']:.2f} |"
        f" {row['test_top1_error_percent']:.2f} | {row['images_per_second']:.0f} |"
        for row in epochs
    ]
    header = "| epoch | rate | training error % | test error % | images/s |\n|---:|---:|---:|---:|---:|"
    text = "\n".join([f"The paper's CIFAR recipe on {attempts[-1]['device']}.", "", header, *rows, ""])
    here.with_suffix(".md").write_text(text)
    print(text)


def main() -> None:
    """Parse, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10:ROOT or cifar100:ROOT")
    parser.add_argument("--minutes", type=float, required=True, help="when to stop")
    parser.add_argument("--out", type=Path, default=Path("runs/paper-cifar"), help="the run folder")
    options, rest = parser.parse_known_args()
    train(options, rest)
    write(options.out)


if __name__ == "__main__":
    main()
