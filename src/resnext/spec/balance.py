"""How much the loss of an image counts, by its class."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from resnext.spec.value import SpecError

_DIGITS = 6
_MOST_LISTED = 10


def balancing_weights(class_counts: Mapping[str, int]) -> dict[str, float]:
    """Return weights under which every class counts alike in all, and an image 1 on average, to six digits.

    A class of n of N images has the weight N / (n x number of classes that have images); one without has none.
    """
    present = {name: count for name, count in class_counts.items() if count}
    mean_count = sum(present.values()) / max(1, len(present))
    return {name: float(f"{mean_count / count:.{_DIGITS}g}") for name, count in present.items()}


def check_class_names(weighed: Iterable[str] | None, class_names: Iterable[str]) -> None:
    """Make sure that classes which are weighed exist. Raises `SpecError`, which names the nearest, where one does not.

    The case is looked past: a name that differs in nothing else is the nearest.
    """
    known = {name.lower(): name for name in class_names}
    for name in weighed or ():
        if name in known.values():
            continue
        nearest = get_close_matches(name.lower(), known, n=1)
        listed = ", ".join(list(known.values())[:_MOST_LISTED]) + (", ..." if len(known) > _MOST_LISTED else "")
        advice = f"did you mean {known[nearest[0]]!r}?" if nearest else f"there are {listed}"
        raise SpecError(f"class_weights: the data has no class {name!r}; {advice}")
