"""Write a test image of each of the bundled digits as a PNG file: python examples/write_digits.py FOLDER."""

import sys
from pathlib import Path

import resnext


def main(folder: Path) -> None:
    """Write `FOLDER/3-<number>.png` and so on: the first test image of each class, named by its class."""
    folder.mkdir(parents=True, exist_ok=True)
    data = resnext.open_data("digits")
    test = data.indexed("test")
    for label, class_name in enumerate(data.class_names):
        index = list(test.labels).index(label)
        test.image(index).save(folder / f"{class_name}-{index}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
