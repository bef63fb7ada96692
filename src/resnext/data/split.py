"""How a set without splits is divided: stratified, seeded and by content, so that copies never straddle a split."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

SPLIT_SEED = 0


def split_by_content(
    labels: Sequence[int], contents: Sequence[str], fractions: Mapping[str, float], seed: int = SPLIT_SEED
) -> dict[str, list[int]]:
    """Divide images into `train` and the splits named in `fractions`, and return the indices of each in order.

    `contents` holds a digest of each image; images with equal digests stay together, whatever their labels, and
    count for the label seen first. Within a label, the order of digests keyed by the seed decides, so that adding
    an image moves few others. A label with fewer than three distinct images stays in `train` whole.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, content in enumerate(contents):
        groups[content].append(index)
    strata: dict[int, list[str]] = defaultdict(list)
    for content, members in groups.items():
        strata[labels[members[0]]].append(content)
    result: dict[str, list[int]] = {name: [] for name in ("train", *fractions)}
    for stratum in strata.values():
        stratum.sort(key=lambda content: hashlib.sha256(f"{seed}:{content}".encode()).digest())
        for content, name in zip(stratum, _assignment(len(stratum), fractions), strict=True):
            result[name].extend(groups[content])
    return {name: sorted(indices) for name, indices in result.items()}


def _assignment(num_images: int, fractions: Mapping[str, float]) -> list[str]:
    """Name the split of each position in a stratum: every split gets its share, and at least one image."""
    if num_images <= len(fractions):
        return ["train"] * num_images
    names = [name for name, share in fractions.items() for _ in range(max(1, round(share * num_images)))]
    return names + ["train"] * (num_images - len(names))
