import pytest
from matplotlib.patches import Rectangle

from resnext.report.speed_figure import Bar, picture, speed_figure

BARS = (
    Bar(name="a $peer$", latency_ms_p50=40.0, latency_ms_p95=55.0, is_ours=False),
    Bar(name="ours", latency_ms_p50=20.0, latency_ms_p95=20.0, is_ours=True),
)


def test_a_bar_is_as_long_as_its_median_and_ours_look_different() -> None:
    [axes] = speed_figure("net", BARS).axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [bar.get_width() for bar in bars] == [40.0, 20.0]
    assert bars[0].get_facecolor() != bars[1].get_facecolor()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a $peer$", "ours"]
    assert axes.get_xlim()[1] > 55.0
    assert axes.yaxis_inverted()


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".PNG", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_same_figure_gives_the_same_file(suffix: str, start: bytes) -> None:
    one, other = (picture(speed_figure("net", BARS), suffix) for _ in range(2))
    assert one.startswith(start)
    assert one == other
