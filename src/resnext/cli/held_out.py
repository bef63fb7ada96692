"""Which images a network was not trained on, as far as can be told, and what a report says of them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnext.artefact.manifest import Manifest
    from resnext.data.dataset import Data, Dataset
    from resnext.data.stream import Stream

ALL = "all"


def is_trusted(data: "Data", manifest: "Manifest") -> bool:
    """Tell whether what the data holds out was held out in training too, or came so with the data."""
    return data.has_own_splits or _is_trained_on(data, manifest)


def held_out(data: "Data", manifest: "Manifest") -> str:
    """Return the split that the network was not trained on; all of them where none is to be trusted."""
    if not is_trusted(data, manifest):
        return ALL
    return "test" if "test" in data.splits else data.selection


def images_of(data: "Data", split: str) -> "Dataset | Stream":
    """Return the images of a split, or of all. Raises `DataError` where the data has none of that name."""
    from resnext.data.views import joined

    return joined(tuple(data.splits.values())) if split == ALL else data.split(split)


def called(data: "Data", split: str, manifest: "Manifest") -> str:
    """Return what a report calls the images of a split, and why they may flatter the network, if they may."""
    named = f"{data.source}, {split}"
    if not is_trusted(data, manifest):
        return f"{named} (any may have been trained on)"
    is_chosen_on = split == data.selection and _is_trained_on(data, manifest)
    return f"{named} (the epoch was chosen on them)" if is_chosen_on else named


def _is_trained_on(data: "Data", manifest: "Manifest") -> bool:
    made = manifest.provenance
    return made is not None and data.digest == made.data_digest
