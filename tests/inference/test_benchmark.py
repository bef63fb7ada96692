from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from resnext.inference import benchmark, ceiling, contest
from resnext.inference.apart import Footprint
from resnext.inference.benchmark import Row, measure
from resnext.inference.ceiling import Copy, Product
from resnext.inference.contestants import Contestant, Run, Workload, answer, eager, ours
from resnext.inference.engine import EngineError
from resnext.model.forms import build
from resnext.spec.architecture import Architecture, architecture
from resnext.spec.complexity import complexity

SMALL = Architecture(stage_depths=(1, 1, 1, 1), cardinality=4, base_width=4, num_classes=5)
BATCH_SIZE, IMAGE_SIZE = 2, 32
SIDE = 64


class Clock:
    """A clock that only moves when something says how long it took."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def taking(self, milliseconds: Callable[[], float], result: Tensor) -> Run:
        def run() -> Tensor:
            self.seconds += milliseconds() / 1000
            return result

        return run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(contest, "_SAMPLE_MS", 0.01)
    monkeypatch.setattr(ceiling, "SIDE", SIDE)
    monkeypatch.setattr(ceiling, "_COPIED_BYTES", 4096)
    monkeypatch.setattr("resnext.inference.ceiling.installed", lambda _: ("torch",))
    monkeypatch.setattr("resnext.inference.choice.installed", lambda _: ("torch",))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def workload(randomised: Callable[..., None]) -> Workload:
    network = build(SMALL).eval()
    randomised(network)
    return Workload(network, torch.rand(BATCH_SIZE, 3, IMAGE_SIZE, IMAGE_SIZE))


def entrant(name: str, make: Callable[[Workload], Run]) -> Contestant:
    framework, _, setting = name.partition(" ")
    return Contestant(framework=framework, setting=setting, precision="fp32", make=make)


THEIRS = entrant("torchvision eager", partial(eager, "torchvision"))
PLAIN = entrant("resnext eager", partial(eager, "resnext"))
OURS = Contestant(
    framework="resnext", setting="torch", precision="fp32", make=partial(ours, "torch", "fp32"), engine="torch"
)


def test_each_contestant_has_a_row_in_its_order_beside_the_first(workload: Workload) -> None:
    told: list[str] = []
    speed = measure(workload, [THEIRS, PLAIN, OURS], 9, with_memory=False, tell=told.append)
    assert [row.name for row in speed.rows] == ["torchvision eager", "resnext eager", "resnext torch"]
    assert speed.reference == speed.rows[0]
    assert [row.is_auto for row in speed.rows] == [False, False, True]
    assert [(found.precision, found.computed_by.split(",")[0]) for found in speed.ceilings] == [("fp32", "torch")]
    assert told[-1] == "Timing 3 contestants in 9 rounds"
    for row in speed.rows:
        assert row.figures is not None
        assert row.relative_error is not None
        assert row.relative_error < 1e-5
        assert (row.reason, row.memory, len(row.figures.rounds_ms)) == (None, None, 9)
        assert 0 < row.figures.latency_ms_p50 <= row.figures.latency_ms_p95


def test_figures_follow_from_the_times_of_calls(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    logits = answer(workload.network, workload.example)
    product = Product(precision="fp32", computed_by="some", run=clock.taking(lambda: 4.0, logits), macs=1_000_000)
    monkeypatch.setattr(contest, "time", clock)
    monkeypatch.setattr(benchmark, "quickest_product", lambda _: product)
    copy = Copy(run=clock.taking(lambda: 5.0, logits), num_bytes=20_000_000)
    monkeypatch.setattr(benchmark, "large_copy", lambda: copy)
    late = iter([2.0] + [2.0, 2.0] * 18 + [2.0, 10.0] * 2)  # one call to compare logits, and two a round
    slow = entrant("a peer", lambda _: clock.taking(lambda: 8.0, logits))
    fast = entrant("b peer", lambda _: clock.taking(lambda: next(late), logits))
    speed = measure(workload, [slow, fast], 20, with_memory=False)
    figures = speed.rows[1].figures
    assert figures is not None
    assert figures.latency_ms_p50 == pytest.approx(2.0 / BATCH_SIZE)
    assert figures.latency_ms_p95 == pytest.approx(10.0 / BATCH_SIZE)
    assert figures.images_per_second == pytest.approx(1000 * BATCH_SIZE / 2.0)
    assert figures.times_as_fast.median == pytest.approx(4.0)
    macs = BATCH_SIZE * complexity(SMALL, IMAGE_SIZE).macs
    assert figures.ceiling_fraction == pytest.approx(macs / 1_000_000 * 4.0 / 2.0)
    assert speed.ceilings[0].gflops_per_second == pytest.approx(2 * 1_000_000 / 4e-3 / 1e9)
    assert speed.copy_gbytes_per_second == pytest.approx(20_000_000 / 5e-3 / 1e9)


def test_one_that_fails_is_a_row_with_its_reason_and_the_next_is_the_reference() -> None:
    network = build(architecture("resnext11_2x2d", base_channels=4)).eval()
    workload = Workload(network, torch.rand(1, 3, 16, 16))
    speed = measure(workload, [THEIRS, PLAIN], 9, with_memory=False)
    failed, plain = speed.rows
    assert failed.figures is None
    assert str(failed.reason).startswith("torchvision has no network like this resnext11_2x2d")
    assert speed.reference == plain


def test_one_with_other_logits_is_not_timed(workload: Workload, randomised: Callable[..., None]) -> None:
    other = build(SMALL, generator=torch.Generator().manual_seed(1)).eval()
    randomised(other)
    wrong = entrant("wrong peer", lambda given: partial(answer, other, given.example))
    row: Row = measure(workload, [PLAIN, wrong], 9, with_memory=False).rows[1]
    assert row.figures is None
    assert row.reason is not None
    assert row.reason.startswith("its logits differ from the module's by ")


def test_int8_is_timed_with_its_error_and_has_no_ceiling(workload: Workload) -> None:
    rounded = answer(workload.network, workload.example) * 1.25
    int8 = replace(entrant("int8 one", lambda _: lambda: rounded), precision="int8")
    row = measure(workload, [PLAIN, int8], 9, with_memory=False).rows[1]
    assert row.relative_error == pytest.approx(0.25, rel=1e-4)
    assert row.figures is not None
    assert row.figures.ceiling_fraction is None


def test_one_with_weights_of_its_own_is_timed_and_not_compared(workload: Workload) -> None:
    other = replace(entrant("b file", lambda _: lambda: torch.zeros(2, 5)), has_same_weights=False)
    row = measure(workload, [PLAIN, other], 9, with_memory=False).rows[1]
    assert (row.relative_error, row.reason) == (None, None)
    assert row.figures is not None
    assert row.figures.ceiling_fraction is not None


def test_where_none_can_be_had_it_is_said_why(workload: Workload) -> None:
    def broken(_: Workload) -> Run:
        raise RuntimeError("no kernel for this\nand a long story")

    with pytest.raises(EngineError, match=r"^nothing can be measured: no kernel for this$"):
        measure(workload, [entrant("broken one", broken)], 9)


def test_memory_is_that_of_the_contestant(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Architecture, tuple[int, ...]]] = []

    def told(contestant: Contestant, architecture: Architecture, shape: tuple[int, ...]) -> Footprint:
        asked.append((contestant.name, architecture, shape))
        return Footprint(making_bytes=2, running_bytes=1)

    monkeypatch.setattr(benchmark, "footprint", told)
    speed = measure(workload, [PLAIN], 9)
    assert asked == [("resnext eager", SMALL, (BATCH_SIZE, 3, IMAGE_SIZE, IMAGE_SIZE))]
    assert speed.rows[0].memory == Footprint(making_bytes=2, running_bytes=1)
