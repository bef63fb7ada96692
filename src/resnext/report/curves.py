"""How a run went, drawn over its epochs."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnext.report.page import FONT_POINTS, HELD_OUT, INK, LINE, SOFT, TRAIN, panel
from resnext.report.story import Epoch

_MOST_DOTS = 40
_HEADROOM = 1.08
_MOST_OVER_TRAINING, _MOST_NOTES = 2.0, 3


def loss_curves(epochs: Sequence[Epoch], num_epochs: int) -> Figure:
    """Draw the loss of training and held-out images.

    A held-out loss far above all of training, as after a first epoch at a high rate, is written at the upper edge, for
    the rest would be flat beside it.
    """
    figure, axes = panel("Loss by epoch")
    highest = _MOST_OVER_TRAINING * max(epoch.train_loss for epoch in epochs)
    beyond = [epoch for epoch in epochs if epoch.held_out_loss > highest]
    _line(axes, epochs, [epoch.train_loss for epoch in epochs], TRAIN)
    _line(axes, epochs, [min(epoch.held_out_loss, highest) for epoch in epochs], HELD_OUT)
    finish(axes, num_epochs)
    for epoch in beyond[:_MOST_NOTES]:
        note = f"\u2191 {epoch.held_out_loss:,.1f}"
        axes.annotate(
            note, (epoch.epoch, highest), (4, 4), textcoords="offset points", color=HELD_OUT, size=FONT_POINTS
        )
    return figure


def error_curves(epochs: Sequence[Epoch], num_epochs: int, best_epoch: int | None) -> Figure:
    """Draw the top-1 error, in percent, of training and held-out images, and mark the best epoch."""
    figure, axes = panel("Top-1 error by epoch, in percent")
    _line(axes, epochs, [epoch.train_error_percent for epoch in epochs], TRAIN)
    _line(axes, epochs, [epoch.held_out_error_percent for epoch in epochs], HELD_OUT)
    for epoch in epochs:
        if epoch.epoch == best_epoch:
            axes.axvline(best_epoch, color=LINE, linewidth=1, zorder=0)
            axes.plot(
                best_epoch, epoch.held_out_error_percent, "o", color=HELD_OUT, markersize=7, clip_on=False, zorder=4
            )
    finish(axes, num_epochs)
    return figure


def rate_curve(rates: Sequence[tuple[float, float]], num_epochs_done: int, num_epochs: int) -> Figure:
    """Draw the planned learning rate: what is done as a line, what was still to come with dashes."""
    figure, axes = panel("Learning rate by epoch")
    done = [pair for pair in rates if pair[0] <= num_epochs_done]
    ahead = [pair for pair in rates if pair[0] >= num_epochs_done]
    axes.plot(*_columns(done), color=INK, linewidth=1.5)
    axes.plot(*_columns(ahead), color=SOFT, linewidth=1.2, linestyle=(0, (2, 2)))
    finish(axes, num_epochs)
    axes.set_xlim(0, num_epochs)
    return figure


def speed_curve(epochs: Sequence[Epoch], num_epochs: int) -> Figure:
    """Draw the training images a second."""
    figure, axes = panel("Training images a second by epoch")
    _line(axes, epochs, [epoch.images_per_second for epoch in epochs], INK)
    finish(axes, num_epochs)
    return figure


def finish(axes: Axes, num_epochs: int) -> None:
    """Give what is drawn over epochs its axes: whole epochs, and values from zero."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set_xlim(min(1, num_epochs - 1), num_epochs)
    axes.set_ylim(0, max(axes.dataLim.y1 * _HEADROOM, 1e-9))
    axes.set_xlabel("epoch")


def _line(axes: Axes, epochs: Sequence[Epoch], values: Sequence[float], colour: str) -> None:
    marker = "." if len(epochs) <= _MOST_DOTS else ""
    places = [epoch.epoch for epoch in epochs]
    axes.plot(places, values, color=colour, linewidth=1.5, marker=marker, markersize=5, clip_on=False, zorder=3)


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
