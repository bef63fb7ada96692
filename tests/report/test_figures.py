import re
from collections.abc import Callable

import pytest
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from resnext.evaluation.calibration import Bin
from resnext.report.classes import class_rows, class_sizes, most_confused
from resnext.report.curves import error_curves, loss_curves, rate_curve, speed_curve
from resnext.report.page import panel, plain, shortened, svg
from resnext.report.reliability import reliability_diagram
from resnext.report.story import Reliability, RunStory

Tell = Callable[..., RunStory]


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(x, y) for x, y in line.get_xydata().tolist()]  # type: ignore[union-attr]


def test_a_figure_follows_the_colours_of_the_page(tell: Tell) -> None:
    drawn = svg(error_curves(tell().epochs, 4, 3))
    assert {"var(--train)", "var(--held-out)", "var(--soft)", "var(--line)"} <= set(
        re.findall(r"var\(--[\w-]+\)", drawn)
    )
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn.replace("var(", ""))) <= {"#ffffff", "#000000"}


def test_words_of_a_figure_stay_words_and_are_escaped() -> None:
    figure, axes = panel('<"title">')
    axes.set_xlabel("a < b & c")
    drawn = svg(figure)
    assert "a &lt; b &amp; c" in drawn
    assert 'aria-label="&lt;&#34;title&#34;&gt;"' in drawn
    assert "<script" not in drawn


def test_the_curves_hold_the_numbers_that_they_are_given(tell: Tell) -> None:
    epochs = tell(num_epochs=5).epochs
    train, held_out = loss_curves(epochs, 5).axes[0].lines
    assert points(train) == [(epoch.epoch, epoch.train_loss) for epoch in epochs]
    assert points(held_out) == [(epoch.epoch, epoch.held_out_loss) for epoch in epochs]
    [speed] = speed_curve(epochs, 5).axes[0].lines
    assert [y for _, y in points(speed)] == [312.0] * 5
    marked = error_curves(epochs, 5, 3).axes[0].lines[-1]
    assert points(marked) == [(3, epochs[2].held_out_error_percent)]


def test_a_loss_beyond_all_others_is_named_and_does_not_flatten_the_rest(tell: Tell) -> None:
    epochs = list(tell(num_epochs=5).epochs)
    wild = type(epochs[0])(**{**{name: getattr(epochs[0], name) for name in epochs[0].__slots__}, "held_out_loss": 6e3})
    axes = loss_curves([wild, *epochs[1:]], 5).axes[0]
    assert axes.get_ylim()[1] < 3 * wild.train_loss
    assert "6,000.0" in axes.texts[0].get_text()
    assert loss_curves(epochs, 5).axes[0].texts[:] == []


def test_what_is_still_to_come_of_the_rate_is_drawn_apart() -> None:
    rates = [(step / 10, 1 / step) for step in range(1, 41)]
    done, ahead = rate_curve(rates, 2, 4).axes[0].lines
    assert points(done)[-1] == points(ahead)[0] == (2, 1 / 20)
    assert points(done) + points(ahead)[1:] == rates


def test_a_bar_is_as_high_as_the_answers_were_right_and_a_tick_as_they_were_sure() -> None:
    axes = reliability_diagram(Reliability(ece_percent=1, bins=(Bin(0.8, 0.9, 5, 0.85, 0.6),)), "").axes[0]
    [bar] = axes.patches
    assert isinstance(bar, Rectangle)
    assert (bar.get_x(), bar.get_width(), bar.get_height()) == pytest.approx((80, 10, 60))
    assert [y for _, y in points(axes.lines[0])] == pytest.approx([85, 85])


def test_confused_pairs_are_ordered_by_images_then_by_share(examined: Callable[..., object]) -> None:
    scores = examined(("a", "b", "c")).scores  # type: ignore[attr-defined]
    confusion = ((90, 10, 0), (0, 10, 10), (25, 0, 75))
    classes = tuple(
        type(row)(name=row.name, precision_percent=1, recall_percent=1, support=sum(counts))
        for row, counts in zip(scores.classes, confusion, strict=True)
    )
    pairs = most_confused(
        type(scores)(
            num_images=220, top1_error_percent=1, top5_error_percent=None, loss=1, classes=classes, confusion=confusion
        )
    )
    assert [(pair.right, pair.said, pair.num_images, pair.share_percent) for pair in pairs] == [
        ("c", "a", 25, 25),
        ("b", "c", 10, 50),
        ("a", "b", 10, 10),
    ]


def test_sizes_of_classes_are_drawn_largest_first_and_empty_ones_do_not_harm() -> None:
    values = class_sizes([3, 900, 0, 40]).axes[0].patches[0].get_data().values  # type: ignore[attr-defined]
    assert list(values) == [900, 40, 3, 0]
    assert [row.num_training_images for row in class_rows(("a", "b"), (5, 0), None)] == [5, 0]


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, "true"), (None, "none"), ([], "none"), ((1, 2.5), "1, 2.5"), ({"a": False, "b": [1]}, "a = false, b = 1")],
)
def test_values_are_written_as_in_a_recipe(value: object, words: str) -> None:
    assert plain(value) == words


def test_a_long_text_keeps_both_ends() -> None:
    short = shortened("begin" + "x" * 10_000 + "end")
    assert len(short) < 310
    assert short.startswith("begin")
    assert short.endswith("end")
    assert shortened("x" * 300) == "x" * 300
