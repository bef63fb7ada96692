"""How fast whole networks answer and learn on a GPU: torchvision, timm, torch.compile, CUDA graphs, and ours.

    python benchmarks/gpu/nets.py [--seconds 270] [--out FOLDER]

ResNeXt-50 32x4d, then ResNet-50, at 224: batches of 256 and single images in bf16, and training steps of 256 images in
mixed precision. The contestants of a task take turns; each is given beside torchvision's eager network and beside the
limits calculated for ResNeXt-50 32x4d. max-autotune comes last, in a process of its own that is ended when the time is
over. Writes nets.json and nets.md after every contestant.
"""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import torch

from card import (
    Ceilings,
    Deadline,
    attempt,
    in_words,
    measured_ceilings,
    need_gpu,
    parsed,
    place,
    release,
    save,
    spread,
    wait,
    wall_ms,
)
from contestants import CONTESTANTS, EAGER, LATE, Contestant, Kind, Made, Task, autotuned
from resnext.spec.complexity import complexity

NETWORKS = ("resnext50_32x4d", "resnet50")
KINDS: tuple[Kind, ...] = ("inference", "latency", "training")
BATCH_SIZES: Mapping[Kind, int] = {"inference": 256, "latency": 1, "training": 256}
IMAGE_SIZE = 224
NUM_ROUNDS = 9

_SAMPLE_MS = 80.0  # of one contestant in one round
_SINGLE_CALLS = 20  # of one contestant in one round, where latency counts
_LIMITS_BYTES_PER_SECOND = 4.3e12  # the copy bandwidth for which the limits were calculated
_TRAINING_PASSES = 3  # forward, input gradient and weight gradient cost alike

LIMITS: Mapping[tuple[str, Kind], Mapping[str, float]] = {
    ("resnext50_32x4d", "inference"): {"layer by layer": 56e3, "epilogues": 66e3, "chained": 80e3},
    ("resnext50_32x4d", "training"): {"eager traffic": 7.1e3, "BN and ReLU fused": 9.7e3, "BN in prologues": 13.4e3},
}


def sample_ms(run: Any, task: Task, guessed_ms: float) -> float:
    """Return the milliseconds of a call in one round: the median of single ones, or the mean of some in a row."""
    if task.kind == "latency":
        return median(wall_ms(run, 1, task.device) for _ in range(_SINGLE_CALLS))
    return wall_ms(run, max(1, ceil(_SAMPLE_MS / guessed_ms)), task.device)


@dataclass(slots=True, kw_only=True)
class Contest:
    """A task and who takes part in it: rows as they become known, made contestants, times by round."""

    task: Task
    deadline: Deadline
    ceilings: Ceilings | None

    def enter(self, contestant: Contestant, made: dict[str, Made]) -> dict[str, Any]:
        """Make a contestant, add it to those made, and say what is known of it before the race."""

        def work() -> dict[str, Any]:
            is_cuda = self.task.device.type == "cuda"
            held = torch.cuda.memory_allocated() if is_cuda else 0
            one = contestant.make(self.task, made)
            one.run()
            wait(self.task.device)
            if is_cuda:
                torch.cuda.reset_peak_memory_stats()
            told = dict(one.facts)
            result = one.run()
            wait(self.task.device)
            if is_cuda and not one.is_graph:
                told["peak_bytes"] = torch.cuda.max_memory_allocated() - held
            told["loss" if self.task.is_training else "largest_logit"] = float(result.abs().max())
            first_ms = wall_ms(one.run, 3, self.task.device)
            made[contestant.name] = one
            return {**told, **self.figures([first_ms])}

        row = {"network": self.task.network, "task": self.task.kind, "contestant": contestant.name}
        return {**row, "batch_size": self.task.batch_size, **attempt(self.deadline, work, contestant.least_seconds)}

    def race(self, made: Mapping[str, Made], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Time all that were made in turn, in an order that changes, and put the figures in their rows.

        Returns nothing to be told beside them.
        """
        guesses = {row["contestant"]: row["ms"] for row in rows if row["contestant"] in made}
        times: dict[str, list[float]] = {name: [] for name in guesses}
        order, random = list(guesses), Random(0)
        for _ in range(NUM_ROUNDS):
            random.shuffle(order)
            for name in order:
                times[name].append(sample_ms(made[name].run, self.task, guesses[name]))
            if self.deadline.seconds_left < 0:
                break
        for row in rows:
            if own := times.get(row["contestant"]):
                row |= {**self.figures(own), "num_rounds": len(own)}
                if EAGER in times:
                    ratios = [reference / one for reference, one in zip(times[EAGER], own, strict=True)]
                    row["times_as_fast_as_eager"] = median(ratios)
                    row["least_times_as_fast"], row["most_times_as_fast"] = min(ratios), max(ratios)
        return {}

    def figures(self, times: list[float]) -> dict[str, Any]:
        """Return what times come to in images a second and beside the limits; one time alone was not in a race."""
        task = self.task
        figures: dict[str, Any] = {**spread(times), "images_per_second": 1000 * task.batch_size / median(times)}
        if self.ceilings is None or task.kind == "latency":
            return figures
        scale = self.ceilings.copy_bytes_per_second / _LIMITS_BYTES_PER_SECOND
        limits = LIMITS.get((task.network, task.kind), {})
        for name, limit in limits.items():
            figures[f"fraction_of_limit, {name}"] = figures["images_per_second"] / (limit * scale)
        macs = complexity(task.network, task.image_size).macs * (_TRAINING_PASSES if task.is_training else 1)
        computed = 2 * macs * figures["images_per_second"]
        figures["fraction_of_product"] = computed / self.ceilings.product_flops_per_second
        return figures


def contested(contest: Contest, contestants: Sequence[Contestant], rows: list[dict[str, Any]]) -> Iterator[None]:
    """Let contestants enter and race, and yield whenever something new is known."""
    torch._dynamo.reset()
    made: dict[str, Made] = {}
    entered = []
    for contestant in contestants:
        entered.append(contest.enter(contestant, made))
        rows.append(entered[-1])
        yield
    problem = attempt(contest.deadline, partial(contest.race, made, entered))
    for row in entered:
        if "note" in problem and "ms" in row:
            row["note"] = f"the race: {problem['note']}; timed once, on entering"
    yield


def autotune(pipe: Connection, task: Task, contest: Contest) -> None:
    """Compile with max-autotune, in a process of its own, and send what was measured."""
    torch.backends.cudnn.benchmark = True
    made = autotuned(task)
    guess = wall_ms(made.run, 3, task.device)
    times = [sample_ms(made.run, task, guess) for _ in range(NUM_ROUNDS)]
    pipe.send({**made.facts, **contest.figures(times), "note": "not in the race: in a process of its own"})


def max_autotune(contest: Contest) -> dict[str, Any]:
    """Run `autotune` as long as there is time."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=autotune, args=(theirs, contest.task, contest))
    process.start()
    theirs.close()
    try:
        if not ours.poll(max(0.0, contest.deadline.seconds_left)):
            return {"note": "not finished: time over"}
        return dict(ours.recv())
    finally:
        process.kill()
        process.join()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out all contestants of all tasks."""
    lines = [
        "| network | task | contestant | images/s | ms | times as fast | limits | product | memory GB | error | note |",
        "|---|---|---|---:|---:|---:|---|---:|---:|---:|---|",
    ]
    for row in rows:
        limits = ", ".join(
            f"{value:.0%} {name.partition(', ')[2]}"
            for name, value in row.items()
            if name.startswith("fraction_of_limit")
        )
        cells = [
            *(row[name] for name in ("network", "task", "contestant")),
            shown(row, "images_per_second", ",.0f"),
            shown(row, "ms", ".3f"),
            shown(row, "times_as_fast_as_eager", ".2f"),
            limits,
            shown(row, "fraction_of_product", ".1%"),
            f"{row['peak_bytes'] / 1e9:.1f}" if "peak_bytes" in row else "",
            shown(row, "error", ".1e"),
            str(row.get("note", "")).replace("|", "/"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def shown(row: Mapping[str, Any], name: str, form: str) -> str:
    """Write a figure; nothing where there is none."""
    return format(row[name], form) if name in row else ""


def write(out: Path, facts: dict[str, Any], ceilings: Ceilings | None) -> str:
    """Write what is known so far, and return its text."""
    head = (
        f"Whole networks at {IMAGE_SIZE}, bf16, channels_last, input on the device except where it is said,"
        f" cudnn.benchmark on: medians of up to {NUM_ROUNDS} interleaved rounds, and how many times as fast as"
        f" {EAGER}. A latency is that of one call by the host's clock, from an idle device to an idle device. Limits"
        " are calculated for ResNeXt-50 32x4d from memory traffic at 4.3 TB/s and scaled to this card's copy."
        f" {in_words(facts, ceilings)}\n"
    )
    text = f"{head}\n{table(facts['rows'])}"
    save(out, "nets", facts, text)
    return text


def main() -> None:
    """Measure, print and write."""
    options = parsed(__doc__, seconds=270).parse_args()
    deadline, device = Deadline.after(options.seconds), need_gpu()
    facts: dict[str, Any] = {**place(device), "image_size": IMAGE_SIZE, "rows": []}
    ceilings: Ceilings | None = None
    try:
        ceilings = measured_ceilings(device)
        facts["ceilings"] = asdict(ceilings)
    except Exception as error:
        facts["ceilings"] = {"note": str(error).partition("\n")[0]}
    release()

    def contest(name: str, kind: Kind) -> Contest:
        task = Task(kind=kind, network=name, batch_size=BATCH_SIZES[kind], image_size=IMAGE_SIZE, device=device)
        return Contest(task=task, deadline=deadline, ceilings=ceilings)

    for part in (CONTESTANTS, LATE):
        for name in NETWORKS:
            for kind in KINDS:
                for _ in contested(contest(name, kind), part[kind], facts["rows"]):
                    write(options.out, facts, ceilings)
                    print(f"{name}, {kind}: {deadline.seconds_left:.0f} s left", flush=True)
                release()
    for name in NETWORKS:
        one = contest(name, "inference")
        row = {"network": name, "task": "inference", "contestant": "torchvision max-autotune"}
        facts["rows"].append({**row, **attempt(deadline, partial(max_autotune, one), 20)})
        text = write(options.out, facts, ceilings)
    print(text)


if __name__ == "__main__":
    main()
