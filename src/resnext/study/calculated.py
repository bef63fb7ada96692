"""The tables that need no training: what is calculated here beside what is published."""

from collections.abc import Callable, Mapping

from resnext.report.study_story import Calculated
from resnext.spec.architecture import architecture
from resnext.spec.complexity import complexity, equal_template
from resnext.study.claims import claims, find
from resnext.study.experiments import CARDINALITIES


def table2() -> Calculated:
    """Calculate Table 2: the width d of each C, the width of its grouped convolution, and the template's weights."""
    like = architecture("resnet50")
    rows = {}
    for cardinality in CARDINALITIES:
        found = equal_template(cardinality, like)
        network = like.replace(cardinality=cardinality, base_width=found.base_width)
        rows[network.name] = {
            "base_width": found.base_width,
            "inner_channels": cardinality * found.base_width,
            "template_weights": found.weights,
        }
    headings = ("d", "width of the grouped convolution", "weights of the template")
    return _beside("Table 2", "Table 2: C against d at equal complexity", headings, rows)


def exact_complexity() -> Calculated:
    """Calculate parameters and multiply-accumulates of the networks whose exact counts are published."""
    named = dict.fromkeys(
        claim.setting for claim in claims() if (claim.table, claim.quantity) == ("Complexity", "params")
    )
    costs = {name: complexity(name) for name in named}
    rows = {name: {"params": cost.params, "macs": cost.macs} for name, cost in costs.items()}
    return _beside("Complexity", "Parameters and multiply-accumulates", ("parameters", "multiply-accumulates"), rows)


CALCULATED: Mapping[str, Callable[[], Calculated]] = {"table2": table2, "complexity": exact_complexity}


def _beside(table: str, title: str, headings: tuple[str, ...], rows: Mapping[str, Mapping[str, int]]) -> Calculated:
    """Lay calculated numbers, of settings by quantity, beside those of a published table."""
    return Calculated(
        title=title,
        quantities=headings,
        rows=tuple(
            (setting, tuple((float(ours), _published(table, setting, name)) for name, ours in numbers.items()))
            for setting, numbers in rows.items()
        ),
    )


def _published(table: str, setting: str, quantity: str) -> float | None:
    claim = find(table, setting, quantity)
    return claim.value if claim else None
