"""The learning rate as a pure function of the step."""

import math
from dataclasses import dataclass

from resnext.spec.recipe import Schedule, chosen


@dataclass(frozen=True, slots=True)
class Horizon:
    """How long a run is."""

    num_epochs: int
    steps_per_epoch: int

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.num_epochs * self.steps_per_epoch


def learning_rate(schedule: Schedule, peak: float, horizon: Horizon, step: int) -> float:
    """Return the rate of a step, counted from 1, given the rate at its peak.

    Warm-up rises linearly and reaches the peak with its last step. A step schedule drops by its factor after the
    end of each milestone epoch (section 4: "divided by 10 three times").
    """
    warmup_steps = round(chosen(schedule.warmup_epochs, "schedule.warmup_epochs") * horizon.steps_per_epoch)
    if step <= warmup_steps:
        return peak * (step / warmup_steps)
    if schedule.kind == "step":
        epochs_done = (step - 1) // horizon.steps_per_epoch
        return peak * schedule.factor ** sum(epochs_done >= milestone for milestone in schedule.milestones)
    progress = (step - 1 - warmup_steps) / max(1, horizon.num_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
