"""The published numbers one by one, so that a result can be laid beside the paper's and beside those of others."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from resnext.study.paper import PUBLISHED
from resnext.study.published import Confidence, Published


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One published number; `Published` says what its fields mean."""

    table: str
    data: str | None
    setting: str
    quantity: str
    value: float
    unit: str
    protocol: str
    confidence: Confidence | None
    source: str
    by: str | None


@cache
def claims() -> tuple[Claim, ...]:
    """Return every published number, in the order of `paper`."""
    return tuple(claim for published in PUBLISHED for claim in _claims_of(published))


def find(
    table: str, setting: str, quantity: str, *, data: str | None = None, protocol: str | None = None
) -> Claim | None:
    """Return the paper's number for a setting in one of its tables, None where the table has none.

    `data` and `protocol` are needed only where the setting stands in the table more than once. Raises `ValueError`
    where the table or the quantity is unknown, or where not exactly one of several numbers is meant.
    """
    papers = [claim for claim in claims() if claim.by is None]
    _require("table", table, (claim.table for claim in papers))
    _require("quantity", quantity, (claim.quantity for claim in papers))
    stated = [
        claim
        for claim in papers
        if (claim.table, claim.setting, claim.quantity) == (table, setting, quantity) and data in (None, claim.data)
    ]
    meant = [claim for claim in stated if protocol in (None, claim.protocol)]
    if stated and len(meant) != 1:
        choices = "; ".join(f"data={claim.data!r}, protocol={claim.protocol!r}" for claim in stated)
        raise ValueError(f"{table} has {quantity} of {setting} under {choices}; say which is meant")
    return meant[0] if meant else None


def others(setting: str, quantity: str, data: str | None) -> tuple[Claim, ...]:
    """Return what others than the paper's authors report of a setting on a data set; often nothing.

    Raises `ValueError` on a quantity that nobody reports.
    """
    _require("quantity", quantity, (claim.quantity for claim in claims()))
    wanted = (setting, quantity, data)
    return tuple(
        claim for claim in claims() if claim.by is not None and (claim.setting, claim.quantity, claim.data) == wanted
    )


def _claims_of(published: Published) -> Iterator[Claim]:
    units = [(name, unit) for unit, names in published.quantities.items() for name in names]
    for protocol, settings in published.rows.items():
        for setting, values in settings.items():
            for (quantity, unit), value in zip(units, values, strict=True):
                yield Claim(
                    table=published.table,
                    data=published.data,
                    setting=setting,
                    quantity=quantity,
                    value=value,
                    unit=unit,
                    protocol=protocol,
                    confidence=published.confidence,
                    source=published.source,
                    by=published.by,
                )


def _require(field: str, value: str, known: Iterator[str]) -> None:
    names = list(dict.fromkeys(known))
    if value not in names:
        raise ValueError(f"{field} = {value!r}: there are {', '.join(names)}")
