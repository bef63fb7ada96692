"""How published numbers are written down: a table as it stands on the page, for `claims` to take apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Confidence = Literal["A", "B", "C"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Numbers that were published together, of the same quantities.

    `quantities` are names by unit, and a row has a value for each, in their order. `rows` are first by protocol, which
    is how the numbers came about, and then by setting: a network's name in the grammar where it is one of ours.
    `data` is what was scored, None where no images are needed to know. `confidence` is A where two independent
    transcriptions of the paper agree, B where there is one that fits prose and arithmetic, C where the number was
    calculated or read in the authors' code, None where nobody has graded it. `by` says who else reports the
    numbers; None is the paper itself, or a calculation from it. Raises `ValueError` where a row is too short or long.
    """

    table: str
    quantities: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, Mapping[str, tuple[float, ...]]]
    confidence: Confidence | None
    source: str
    data: str | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        num_quantities = sum(len(names) for names in self.quantities.values())
        for settings in self.rows.values():
            for setting, values in settings.items():
                if len(values) != num_quantities:
                    raise ValueError(
                        f"{self.table}, {setting}: {len(values)} values for {num_quantities} quantities;"
                        " a row has one for each"
                    )
