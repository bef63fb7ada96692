"""How fast a network is on this machine: contestants beside a reference and the machine's ceiling, in one run."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from math import inf
from statistics import median, quantiles

from resnext.inference.apart import Footprint, footprint
from resnext.inference.ceiling import Copy, Product, large_copy, quickest_product
from resnext.inference.choice import choose
from resnext.inference.contest import Ratio, race_calls, times_as_fast
from resnext.inference.contestants import Contestant, Run, Workload, answer
from resnext.inference.engine import EngineError, EngineName, Precision
from resnext.inference.telling import Tell, untold
from resnext.spec.complexity import complexity

NUM_ROUNDS = 21

# How far logits may be from the module's in fp32: the norm of the difference over the norm of the logits. What int8
# costs is told by a score on real images, which its export had to hold, so that there it is said and not judged.
TOLERANCES: Mapping[Precision, float] = {"fp32": 1e-4, "bf16": 5e-2, "int8": inf}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How fast a contestant was.

    Latencies are milliseconds an image, over all calls. `times_as_fast` compares with the reference within rounds, and
    `ceiling_fraction` the arithmetic a second with that of the quickest product of matrices in the same precision;
    None in int8, for which none is measured.
    `rounds_ms` has the quickest call of each round, in milliseconds for the whole batch, so that any two contestants of
    one run can be compared by `times_as_fast`.
    """

    latency_ms_p50: float
    latency_ms_p95: float
    images_per_second: float
    times_as_fast: Ratio
    ceiling_fraction: float | None
    rounds_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A contestant with its figures, or with the reason why it has none.

    `relative_error` is the norm of the difference of its logits from the module's over the norm of those, where it has
    the same weights. `is_auto`: it is the engine that `auto` takes.
    """

    framework: str
    setting: str
    precision: Precision
    figures: Figures | None = None
    reason: str | None = None
    relative_error: float | None = None
    memory: Footprint | None = None
    is_auto: bool = False

    @property
    def name(self) -> str:
        """Library and setting in words."""
        return f"{self.framework} {self.setting}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The quickest product of matrices in a precision, and what computed it; a multiply-accumulate counts as two."""

    precision: Precision
    computed_by: str
    gflops_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """A row for each contestant, which of them `times_as_fast` compares with, and the ceilings.

    `copy_gbytes_per_second` is what a large copy in memory reads and writes, in 1e9 bytes.
    """

    rows: tuple[Row, ...]
    reference: Row
    ceilings: tuple[Ceiling, ...]
    copy_gbytes_per_second: float
    num_rounds: int


def measure(
    workload: Workload,
    entrants: Sequence[Contestant],
    num_rounds: int = NUM_ROUNDS,
    *,
    with_memory: bool = True,
    tell: Tell = untold,
) -> Speed:
    """Time contestants in turn, in the same rounds as the ceilings; the first is the reference.

    Where the first cannot be had, the next that can is. One that fails, or whose logits are not the module's, gets a
    row that says so. Memory is measured before, in a process for each. `tell` is told what is being done.
    Raises `EngineError` where no contestant can be had.
    """
    rows: dict[Contestant, Row] = {}
    runs: dict[Contestant, Run] = {}
    for entrant in entrants:
        rows[entrant], run = _enter(entrant, workload, tell)
        if run is not None:
            runs[entrant] = run
    if not runs:
        reasons = dict.fromkeys(str(row.reason) for row in rows.values())
        raise EngineError(f"nothing can be measured: {'; '.join(reasons)}")
    if with_memory:
        rows |= {entrant: replace(rows[entrant], memory=_memory(entrant, workload, tell)) for entrant in runs}
    autos = _autos(workload, runs, tell)
    contest = _race(workload, runs, num_rounds, tell)
    for entrant in runs:
        is_auto = (entrant.precision, entrant.engine) in autos
        rows[entrant] = replace(rows[entrant], figures=contest.figures(entrant), is_auto=is_auto)
    return Speed(
        rows=tuple(rows.values()),
        reference=rows[contest.reference],
        ceilings=tuple(map(contest.ceiling, contest.products)),
        copy_gbytes_per_second=contest.copy_gbytes_per_second(),
        num_rounds=num_rounds,
    )


def _enter(entrant: Contestant, workload: Workload, tell: Tell) -> tuple[Row, Run | None]:
    """Make a contestant and compare its logits with the module's; return no run where that does not work."""
    tell(f"Making {entrant.name}, {entrant.precision}")
    row = Row(framework=entrant.framework, setting=entrant.setting, precision=entrant.precision)
    try:
        run = entrant.make(workload)
        found = run().double()
    except Exception as error:  # whatever a library raises, the others are measured all the same
        return replace(row, reason=str(error).strip().partition("\n")[0] or type(error).__name__), None
    if not entrant.has_same_weights:
        return row, run
    expected = answer(workload.network, workload.example).double()
    off, most = float((found - expected).norm() / expected.norm()), TOLERANCES[entrant.precision]
    if not off <= most:
        return replace(row, reason=f"its logits differ from the module's by {off:.0e}, more than {most:.0e}"), None
    return replace(row, relative_error=off), run


def _memory(entrant: Contestant, workload: Workload, tell: Tell) -> Footprint | None:
    tell(f"Measuring the memory of {entrant.name}, {entrant.precision}")
    return footprint(entrant, workload.network.architecture, tuple(workload.example.shape))


def _autos(workload: Workload, entrants: Iterable[Contestant], tell: Tell) -> set[tuple[Precision, EngineName | None]]:
    """Return what `auto` takes in each precision in which one of our engines takes part."""
    taken: set[tuple[Precision, EngineName | None]] = set()
    for precision in dict.fromkeys(entrant.precision for entrant in entrants if entrant.engine is not None):
        tell(f"Choosing an engine, {precision}")
        with suppress(ValueError):
            taken.add((precision, choose(workload.ready, precision)[0].engine))
    return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contest:
    """The milliseconds of every call of every contestant, product and copy, round by round."""

    workload: Workload
    reference: Contestant
    products: Mapping[Precision, Product]
    copy: Copy
    times: Mapping[Hashable, list[list[float]]]

    def figures(self, entrant: Contestant) -> Figures:
        """Return how fast a contestant was."""
        batch_size, _, _, image_size = self.workload.example.shape
        calls = sorted(chain.from_iterable(self.times[entrant]))
        macs = batch_size * complexity(self.workload.network.architecture, image_size).macs
        return Figures(
            latency_ms_p50=median(calls) / batch_size,
            latency_ms_p95=quantiles(calls, n=20, method="inclusive")[-1] / batch_size,
            images_per_second=1000 * batch_size / median(calls),
            times_as_fast=times_as_fast(self._quickest(self.reference), self._quickest(entrant)),
            ceiling_fraction=self._share(macs, entrant),
            rounds_ms=tuple(self._quickest(entrant)),
        )

    def ceiling(self, precision: Precision) -> Ceiling:
        """Return the ceiling of a precision."""
        product = self.products[precision]
        gflops_per_second = 2 * product.macs / median(self._quickest(product)) / 1e6
        return Ceiling(precision=precision, computed_by=product.computed_by, gflops_per_second=gflops_per_second)

    def copy_gbytes_per_second(self) -> float:
        """Return how fast memory was."""
        return self.copy.num_bytes / median(self._quickest(self.copy)) / 1e6

    def _share(self, macs: int, entrant: Contestant) -> float | None:
        product = self.products.get(entrant.precision)
        if product is None:
            return None
        return macs / product.macs * times_as_fast(self._quickest(product), self._quickest(entrant)).median

    def _quickest(self, name: Hashable) -> list[float]:
        return [min(calls) for calls in self.times[name]]


def _race(workload: Workload, entered: Mapping[Contestant, Run], num_rounds: int, tell: Tell) -> _Contest:
    products: dict[Precision, Product] = {}
    for precision in dict.fromkeys(each.precision for each in entered if each.precision != "int8"):
        tell(f"Looking for the quickest product of matrices, {precision}")
        products[precision] = quickest_product(precision)
    tell(f"Timing {len(entered)} contestants in {num_rounds} rounds")
    copy = large_copy()
    runs: dict[Hashable, Run] = {product: product.run for product in products.values()}
    runs[copy] = copy.run
    runs.update(entered.items())
    times = race_calls(runs, num_rounds)
    return _Contest(workload=workload, reference=next(iter(entered)), products=products, copy=copy, times=times)
