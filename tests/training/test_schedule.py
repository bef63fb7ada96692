from collections.abc import Callable
from functools import partial
from itertools import groupby, pairwise
from math import pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.spec.recipe import Schedule
from resnext.training.schedule import Horizon, learning_rate

PEAKS = st.floats(1e-6, 1e3)
HORIZONS = st.builds(Horizon, st.integers(1, 40), st.integers(1, 30))
WARMUPS = st.floats(0, 45)


def rates(schedule: Schedule, peak: float, horizon: Horizon) -> list[float]:
    return [learning_rate(schedule, peak, horizon, step) for step in range(1, horizon.num_steps + 1)]


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    return Schedule(
        kind=draw(st.sampled_from(["cosine", "step"])),
        warmup_epochs=draw(WARMUPS),
        milestones=tuple(sorted(draw(st.sets(st.integers(1, 40), max_size=4)))),
        factor=draw(st.floats(0.01, 0.99)),
    )


@given(schedule=schedules(), peak=PEAKS, horizon=HORIZONS)
def test_the_rate_is_positive_and_never_above_its_peak(schedule: Schedule, peak: float, horizon: Horizon) -> None:
    assert all(0 < rate <= peak for rate in rates(schedule, peak, horizon))


@given(schedule=schedules(), peak=PEAKS, horizon=HORIZONS)
def test_warm_up_rises_with_every_step_and_ends_at_the_peak(schedule: Schedule, peak: float, horizon: Horizon) -> None:
    num_warmup_steps = round(float(schedule.warmup_epochs) * horizon.steps_per_epoch)
    rising = [learning_rate(schedule, peak, horizon, step) for step in range(1, num_warmup_steps + 1)]
    assert all(before < after for before, after in pairwise(rising))
    assert rising[-1:] == [peak][: len(rising)]


@given(schedule=schedules(), peak=PEAKS, horizon=HORIZONS)
def test_the_rate_never_rises_after_warm_up(schedule: Schedule, peak: float, horizon: Horizon) -> None:
    num_warmup_steps = round(float(schedule.warmup_epochs) * horizon.steps_per_epoch)
    falling = rates(schedule, peak, horizon)[num_warmup_steps:]
    assert all(before >= after for before, after in pairwise(falling))


@given(peak=PEAKS, horizon=HORIZONS, warmup_epochs=st.floats(0, 0.9))
def test_a_cosine_starts_at_the_peak_and_ends_near_zero(peak: float, horizon: Horizon, warmup_epochs: float) -> None:
    schedule = Schedule(kind="cosine", warmup_epochs=warmup_epochs)
    num_warmup_steps = round(warmup_epochs * horizon.steps_per_epoch)
    falling = rates(schedule, peak, horizon)[num_warmup_steps:]
    if not falling:
        return
    assert falling[0] == peak
    # One step before the zero of the cosine: sin(x)^2 <= x^2 with x = pi / 2n.
    assert falling[-1] <= peak * min(1.0, (pi / (2 * len(falling))) ** 2) * (1 + 1e-12)


@given(steps_per_epoch=st.integers(1, 50), milestone=st.integers(1, 30), factor=st.floats(0.01, 0.99))
def test_the_rate_drops_after_the_last_step_of_a_milestone_epoch(
    steps_per_epoch: int, milestone: int, factor: float
) -> None:
    schedule = Schedule(kind="step", milestones=(milestone,), factor=factor)
    horizon = Horizon(40, steps_per_epoch)
    last_step = milestone * steps_per_epoch
    assert learning_rate(schedule, 0.1, horizon, last_step) == 0.1
    assert learning_rate(schedule, 0.1, horizon, last_step + 1) == pytest.approx(0.1 * factor, rel=1e-15)


def test_epoch_31_is_the_first_below_the_peak_when_30_is_a_milestone() -> None:
    schedule = Schedule(kind="step", milestones=(30, 60, 90))
    horizon = Horizon(120, 7)
    of_epoch = [set(rates(schedule, 0.1, horizon)[7 * epoch : 7 * epoch + 7]) for epoch in range(120)]
    assert all(len(found) == 1 for found in of_epoch)
    drops = [epoch + 1 for epoch in range(1, 120) if of_epoch[epoch] != of_epoch[epoch - 1]]
    assert drops == [31, 61, 91]
    assert of_epoch[119].pop() == pytest.approx(1e-4, rel=1e-12)


def test_milestones_in_any_order_mean_the_same() -> None:
    horizon = Horizon(12, 2)
    forward, backward = (Schedule(kind="step", milestones=m, factor=0.5) for m in ((3, 6, 9), (9, 3, 6)))
    assert rates(forward, 1.0, horizon) == rates(backward, 1.0, horizon)


def test_warm_up_may_be_a_fraction_of_an_epoch() -> None:
    schedule = Schedule(kind="step", warmup_epochs=0.5)
    assert rates(schedule, 8.0, Horizon(1, 8)) == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 8.0, 8.0]


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    for kind in ("cosine", "step"):
        assert rates(Schedule(kind=kind), 0.3, Horizon(3, 4))[0] == 0.3


def by_epoch(schedule: Schedule, peak: float, horizon: Horizon) -> str:
    """Write the first and the last rate of every epoch, a line for each run of equal epochs."""
    lines = []
    for ends, group in groupby(range(1, horizon.num_epochs + 1), key=partial(_ends, schedule, peak, horizon)):
        epochs = list(group)
        lines.append(f"{'-'.join(str(n) for n in dict.fromkeys((epochs[0], epochs[-1])))}: {ends}\n")
    return "".join(lines)


def _ends(schedule: Schedule, peak: float, horizon: Horizon, epoch: int) -> str:
    steps = ((epoch - 1) * horizon.steps_per_epoch + 1, epoch * horizon.steps_per_epoch)
    return " .. ".join(f"{learning_rate(schedule, peak, horizon, step):.6g}" for step in steps)


@pytest.mark.parametrize(
    ("name", "schedule", "peak", "horizon"),
    [
        ("step_warmup", Schedule(kind="step", warmup_epochs=2.5, milestones=(2, 5), factor=0.5), 1.0, Horizon(8, 10)),
        ("cosine", Schedule(kind="cosine", warmup_epochs=1), 0.1, Horizon(20, 22)),
    ],
)
def test_rates_by_epoch_are_pinned(
    golden: Callable[[str, str], None], name: str, schedule: Schedule, peak: float, horizon: Horizon
) -> None:
    golden(f"schedule_{name}.txt", by_epoch(schedule, peak, horizon))
