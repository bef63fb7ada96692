"""Events for TensorBoard beside the log of a run, where TensorBoard is installed."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from resnext.training.loop import EpochReport, Report

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_STEPS_BETWEEN = 10


class Board:
    """Curves of a run in the form that TensorBoard reads; none where it is not installed, or cannot be written.

    `first_step` is the step after which the run goes on: what was written of later ones is superseded, all where a run
    that left no checkpoint begins anew.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._writer = _writer(folder, first_step)

    def show(self, report: Report) -> None:
        """Write what belongs to an epoch, or to every tenth step."""
        if self._writer is None or (not isinstance(report, EpochReport) and report.step % _STEPS_BETWEEN):
            return
        try:
            for name, value in _scalars(report).items():
                self._writer.add_scalar(name, value, report.step)
            if isinstance(report, EpochReport):
                self._writer.flush()
        except OSError:  # the run's own log is what counts; where that cannot be written either, the run says so
            self._writer = None

    def close(self) -> None:
        """Write what is still to be written."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()


def _writer(folder: Path, first_step: int) -> "SummaryWriter | None":
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra, and slow to load

        return SummaryWriter(str(folder), purge_step=first_step + 1)
    except (ImportError, OSError):
        return None


def _scalars(report: Report) -> dict[str, float]:
    if not isinstance(report, EpochReport):
        return {"step/loss": report.loss, "step/learning_rate": report.learning_rate}
    scores = report.scores
    scalars = {
        "loss/train": report.train_loss,
        "loss/held_out": scores.loss,
        "top1_error_percent/train": report.train_top1_error_percent,
        "top1_error_percent/held_out": scores.top1_error_percent,
        "learning_rate": report.learning_rate,
        "images_per_second": report.images_per_second,
    }
    if scores.top5_error_percent is not None:
        scalars["top5_error_percent/held_out"] = scores.top5_error_percent
    return scalars
