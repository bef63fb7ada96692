"""`digits`: 1,797 handwritten digits of 8x8 pixels that come with scikit-learn; the data that is always there."""

import numpy as np

from resnext.data.dataset import ArrayDataset, Data, digest_of
from resnext.data.split import split_by_content

_INK_LEVELS = 16


def open_digits() -> Data:
    """Open the bundled digits, split 80/10/10."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second, and only this source needs it

    bundle = load_digits()
    pixels = np.round(bundle.images * (255 / _INK_LEVELS)).astype(np.uint8)
    labels = [int(label) for label in bundle.target]
    contents = [digest_of([image.tobytes()]) for image in pixels]
    indices = split_by_content(labels, contents, {"val": 0.1, "test": 0.1})
    return Data(
        source="digits",
        class_names=tuple(str(name) for name in bundle.target_names),
        splits={
            name: ArrayDataset(f"digits/{name}", pixels[chosen], [labels[i] for i in chosen])
            for name, chosen in indices.items()
        },
        digest=digest_of([pixels.tobytes(), bytes(labels)]),
        is_handwriting=True,
    )
