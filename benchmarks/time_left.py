"""How right the time left and the forecast of a dry run are: python benchmarks/time_left.py [DATA ...] [--epochs N].

Forecasts and then carries out whole runs by the recipe `quick`, of the bundled digits and of any data named beside,
and compares what was said after 10, 25 and 50 % of the time with the time that was left. Writes time_left.json and
time_left.md beside this file. Nothing else should run on the machine meanwhile.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import resnext
from resnext.training.conduct import Conduct
from resnext.training.forecast import forecast_of
from resnext.training.loop import StepReport
from resnext.training.machine import Machine, num_cores
from resnext.training.pace import Pace, length_of
from resnext.training.run import Run
from resnext.training.task import Task, adapt
from resnext.training.world import World

FRACTIONS = (0.10, 0.25, 0.50)
LIMIT_PERCENT = 20


def followed(task: Task, machine: Machine, folder: Path) -> tuple[list[tuple[float, float]], float]:
    """Carry a run out; return at each step the seconds since the start and those said to be left, and all seconds."""
    run = Run(task, Conduct(out=folder), machine)
    began = time.perf_counter()
    pace = Pace(length_of(task), began)
    said = []
    for report in run:
        now = time.perf_counter()
        if isinstance(report, StepReport):
            pace.take_step(now, report.wait_seconds)
        else:
            pace.score(now)
        if pace.seconds_left is not None:
            said.append((now - began, pace.seconds_left))
    run.finish()
    return said, time.perf_counter() - began


def measured(source: str, epochs: int | None) -> dict[str, Any]:
    """Forecast a run and carry it out; errors are relative to what was left, or to the whole run."""
    machine = Machine()
    data = resnext.open_data(source)
    recipe, _ = adapt(resnext.read_recipe("quick", {"epochs": epochs} if epochs else {}), data, machine)
    task = Task(data=data, recipe=recipe)
    forecast = forecast_of(task, machine, World()).duration
    assert forecast is not None, "there is too little memory for the run"
    with TemporaryDirectory() as folder:
        said, seconds = followed(task, machine, Path(folder) / "run")
    errors = {}
    for fraction in FRACTIONS:
        at, left = next(each for each in said if each[0] >= fraction * seconds)
        errors[f"{fraction:.0%}"] = round(100 * (left / (seconds - at) - 1), 1)
    return {
        "data": Path(source).name,
        "num_epochs": recipe.epochs,
        "run_seconds": round(seconds, 1),
        "forecast_seconds": round(forecast.run_seconds, 1),
        "forecast_error_percent": round(100 * (forecast.run_seconds / seconds - 1), 1),
        "time_left_error_percent": errors,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="*", help="folders and other data beside digits")
    parser.add_argument("--epochs", type=int, help="epochs of each run; quick's own if left out")
    given = parser.parse_args()
    runs = [measured(source, given.epochs) for source in ("digits", *given.data)]
    place = {"python": platform.python_version(), "torch": torch.__version__, "num_cores": num_cores()}
    here = Path(__file__).parent
    written = {**place, "limit_percent": LIMIT_PERCENT, "runs": runs}
    (here / "time_left.json").write_text(json.dumps(written, indent=2) + "\n")
    headings = " | ".join(f"error at {fraction:.0%}" for fraction in FRACTIONS)
    lines = [f"| data | epochs | seconds | forecast s | {headings} |", f"|---|{'---:|' * (3 + len(FRACTIONS))}"]
    for run in runs:
        errors = " | ".join(f"{error:+.1f} %" for error in run["time_left_error_percent"].values())
        figures = f"{run['num_epochs']} | {run['run_seconds']} | {run['forecast_seconds']}"
        lines.append(f"| {run['data']} | {figures} | {errors} |")
    table = "\n".join(lines) + "\n"
    words = f"Whole runs by `quick`, {place}. Errors are of the time left, of which {LIMIT_PERCENT} % are the limit."
    (here / "time_left.md").write_text(f"{words}\n\n{table}")
    print(table)


if __name__ == "__main__":
    main()
