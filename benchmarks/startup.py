"""How long `import resnext` and `resnext --help` take: python benchmarks/startup.py.

Runs the two and a bare interpreter in turn, so that a busy machine slows all three alike, and writes startup.json and
startup.md beside this file.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROUNDS = 15
LIMITS_MS = {"import resnext": 150, "resnext --help": 500}
COMMANDS = {
    "bare interpreter": [sys.executable, "-c", ""],
    "import resnext": [sys.executable, "-c", "import resnext"],
    "resnext --help": [str(Path(sys.executable).with_name("resnext")), "--help"],
}


def milliseconds(command: list[str]) -> float:
    """Run a command once and return its wall time."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    """Measure, print and write."""
    for command in COMMANDS.values():
        milliseconds(command)
    rounds = [{name: milliseconds(command) for name, command in COMMANDS.items()} for _ in range(ROUNDS)]
    times = {name: sorted(one[name] for one in rounds) for name in COMMANDS}
    summary = {
        name: {"min_ms": values[0], "median_ms": median(values), "max_ms": values[-1]} for name, values in times.items()
    }
    place = {"python": platform.python_version(), "machine": platform.machine(), "num_cores": os.cpu_count()}
    here = Path(__file__).parent
    (here / "startup.json").write_text(json.dumps({"rounds": ROUNDS, **place, "times": summary}, indent=2) + "\n")
    lines = ["| | min ms | median ms | max ms | limit ms |", "|---|---:|---:|---:|---:|"]
    for name, row in summary.items():
        figures = " | ".join(f"{row[key]:.0f}" for key in ("min_ms", "median_ms", "max_ms"))
        lines.append(f"| {name} | {figures} | {LIMITS_MS.get(name, '')} |")
    table = "\n".join(lines) + "\n"
    (here / "startup.md").write_text(f"Whole processes, {ROUNDS} interleaved rounds, {place}.\n\n{table}")
    print(table)


if __name__ == "__main__":
    main()
