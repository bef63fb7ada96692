"""A folder of images: class folders, or `train/` and its like with class folders inside."""

from pathlib import Path

from resnext.data.dataset import Data, DataError
from resnext.data.encoded import Files
from resnext.data.examine import data_of, examined, indexed
from resnext.data.found import USUAL, Admission
from resnext.data.index import recall, remember
from resnext.data.listing import list_images


def open_folder(root: Path, admission: Admission = USUAL) -> Data:
    """Open a folder of images and say what is wrong with it.

    Without split folders, 80/10/10 is divided by content; with `train/` but no validation, a tenth of `train` is.
    Up to 20,000 files are each decoded once here, so that a damaged one is named before training starts; in a
    larger folder it is named when it is met, unless `admission` says otherwise. What is found in a larger folder with
    given splits is kept in the user's cache for the next opening; see `recall` for what that cannot notice.
    Raises `DataError` where there is no folder, no image, or fewer than two classes.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    files = Files(root)
    index = None if admission.examine_all or admission.quarantine else recall(root)
    if index is None:
        listing = list_images(root)
        found = examined(listing.found, files, admission)
        index = indexed(str(root), found)
        if listing.is_settled and admission.examines and found is listing.found:
            remember(root, index, listing.changed_ns)
    return data_of(str(root), files, index)
