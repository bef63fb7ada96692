"""Whether probabilities mean what they say, and thresholds keep their promise: python benchmarks/calibration.py FOLDER.

Trains `quick` on a folder of images with three seeds, or takes finished runs on it (--runs A B C), and reports the
expected calibration error on the test split before and after calibration, and, for thresholds found on the validation
split, precision and coverage on both. Writes calibration.json and calibration.md beside this file.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import resnext
from resnext.data.dataset import Data
from resnext.evaluation.abstention import Abstention, answers_at, threshold_for
from resnext.evaluation.answers import Answers, count_and_keep
from resnext.evaluation.metrics import Scores

SEEDS = (0, 1, 2)
PRECISIONS = (0.95, 0.98, 0.99)


def examined(classifier: resnext.Classifier, data: Data, split: str) -> tuple[Scores, Answers]:
    """Score a classifier on a split, and keep how sure it is."""
    batches = resnext.evaluation_batches(data.split(split), classifier.preprocessing)
    counts, answers = count_and_keep(classifier.logits, batches, len(classifier.class_names), classifier.temperature)
    return Scores.of(counts, classifier.class_names), answers


def figures(abstention: Abstention) -> dict[str, Any]:
    """Return what a threshold does on a split."""
    names = ("precision_percent", "interval_percent", "coverage_percent")
    return {**asdict(abstention), **{name: getattr(abstention, name) for name in names}}


def report(artefact: Path, data: Data) -> dict[str, Any]:
    """Return all figures of one artefact."""
    classifier = resnext.load(artefact)
    made = classifier.manifest.provenance
    if made is None or made.data_digest != data.digest:
        raise SystemExit(f"{artefact} was not trained on {data.source}: its validation split is another")
    (_, val), (scores, test) = (examined(classifier, data, split) for split in ("val", "test"))
    thresholds = {}
    for precision in PRECISIONS:
        found = threshold_for(precision, val.probabilities, val.is_right)
        held = answers_at(found.threshold, test.probabilities, test.is_right)
        low, high = held.interval_percent
        thresholds[str(precision)] = {
            "is_reached": found.reaches(precision),
            "is_kept": low <= 100 * precision <= high or held.reaches(precision),
            "val": figures(found),
            "test": figures(held),
        }
    return {
        "seed": made.seed,
        "model": classifier.manifest.architecture.name,
        "num_test_images": scores.num_images,
        "top1_error_percent": scores.top1_error_percent,
        "temperature": classifier.temperature,
        "raw_ece_percent": test.raw_ece_percent,
        "ece_percent": test.ece_percent,
        "thresholds": thresholds,
    }


def trained(data: Data, folder: Path) -> list[Path]:
    """Train `quick` with each seed, and return the best artefacts."""
    return [resnext.train(data, "quick", folder / f"seed-{seed}", seed=seed).artefact for seed in SEEDS]


def percentages(row: dict[str, Any]) -> str:
    """Return precision, interval and coverage as cells of a table."""
    low, high = row["interval_percent"]
    precision = "-" if row["precision_percent"] is None else f"{row['precision_percent']:.1f}"
    return f"{precision} ({low:.1f} to {high:.1f}) | {row['coverage_percent']:.1f}"


def markdown(source: str, rows: list[dict[str, Any]]) -> str:
    """Lay the figures out as two tables."""
    lines = [f"{source}, test split of {rows[0]['num_test_images']:,} images. ECE: expected calibration error.", ""]
    lines += ["| seed | top-1 error % | temperature | ECE % before | ECE % after |", "|---:|---:|---:|---:|---:|"]
    for row in rows:
        cells = (f"{row[key]:.2f}" for key in ("raw_ece_percent", "ece_percent"))
        lines.append(
            f"| {row['seed']} | {row['top1_error_percent']:.2f} | {row['temperature']:.3f} | {' | '.join(cells)} |"
        )
    means = (f"{mean(row[key] for row in rows):.2f}" for key in ("raw_ece_percent", "ece_percent"))
    lines += [f"| mean | {mean(row['top1_error_percent'] for row in rows):.2f} | | {' | '.join(means)} |", ""]
    lines.append("| precision asked % | seed | threshold | val % | val answered % | test % | test answered % | kept |")
    lines.append("|---:|---:|---:|---:|---:|---:|---:|---|")
    for precision in map(str, PRECISIONS):
        for row in rows:
            one = row["thresholds"][precision]
            threshold = f"{one['val']['threshold']:g}{'' if one['is_reached'] else ' (not reached)'}"
            cells = (percentages(one[split]) for split in ("val", "test"))
            kept = "yes" if one["is_kept"] else "no"
            lines.append(f"| {100 * float(precision):g} | {row['seed']} | {threshold} | {' | '.join(cells)} | {kept} |")
    lines += ["", "In brackets: 95 % intervals. Kept: on test the precision asked for is reached, or in the interval."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train or load, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="images in class folders")
    parser.add_argument("--runs", nargs="+", type=Path, help="finished run folders, in place of training")
    given = parser.parse_args()
    data = resnext.open_data(given.folder)
    with TemporaryDirectory() as temporary:
        finished = [run / "best.safetensors" for run in given.runs or ()]
        rows = [report(artefact, data) for artefact in finished or trained(data, Path(temporary))]
    source = Path(given.folder).resolve().name
    here = Path(__file__).parent
    (here / "calibration.json").write_text(json.dumps({"data": source, "runs": rows}, indent=2) + "\n")
    table = markdown(source, rows)
    (here / "calibration.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
