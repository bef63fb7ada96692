import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnext.data.cifar import open_cifar
from resnext.data.dataset import ArrayDataset, Data, DataError
from resnext.data.open import open_data

Pixels = NDArray[np.uint8]

TRAIN_FILES = [f"data_batch_{number}" for number in range(1, 6)]
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PER_BATCH = 4


def pickled(path: Path, content: object) -> None:
    """Write a pickle as the authors of CIFAR did, in protocol 2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def batch(seed: int, num_images: int = PER_BATCH) -> dict[bytes, Any]:
    rng = np.random.default_rng(seed)
    return {
        b"batch_label": b"training batch",
        b"labels": rng.integers(0, 10, num_images).tolist(),
        b"data": rng.integers(0, 256, (num_images, 3_072), dtype=np.uint8),
        b"filenames": [b"name.png"] * num_images,
    }


def as_image(row: Pixels) -> Pixels:
    """Spell out the layout: a red plane, a green and a blue one, each row by row."""
    return np.stack([row[:1024].reshape(32, 32), row[1024:2048].reshape(32, 32), row[2048:].reshape(32, 32)], axis=2)


def pixels(data: Data, split: str) -> Pixels:
    dataset = data.indexed(split)
    return np.stack([np.asarray(dataset.image(index)) for index in range(len(dataset.labels))])


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """Write CIFAR-10 in miniature and return the folder that holds its files."""
    folder = tmp_path / "cifar-10-batches-py"
    for seed, name in enumerate([*TRAIN_FILES, "test_batch"]):
        pickled(folder / name, batch(seed))
    pickled(folder / "batches.meta", {"label_names": NAMES, "num_cases_per_batch": PER_BATCH, "num_vis": 3_072})
    return folder


@pytest.fixture
def cifar100(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-100-python"
    for seed, (name, num_images) in enumerate([("train", 7), ("test", 3)]):
        content = batch(seed, num_images)
        fine = content.pop(b"labels")
        pickled(folder / name, {**content, b"fine_labels": fine, b"coarse_labels": [0] * num_images})
    names = {"fine_label_names": [f"fine {i}" for i in range(100)], "coarse_label_names": ["coarse"] * 20}
    pickled(folder / "meta", names)
    return folder


def refusal(folder: Path, kind: str = "cifar10") -> str:
    with pytest.raises(DataError) as caught:
        open_cifar(kind, folder.parent)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


def test_pixels_labels_and_names_are_those_of_the_files(cifar10: Path) -> None:
    data = open_cifar("cifar10", cifar10.parent)
    written = {"train": [batch(seed) for seed in range(5)], "test": [batch(5)]}
    assert data.class_names == tuple(NAMES)
    for split, batches in written.items():
        assert list(data.split(split).labels) == [label for content in batches for label in content[b"labels"]]
        expected = [as_image(row) for content in batches for row in content[b"data"]]
        assert np.array_equal(pixels(data, split), expected)


def test_the_test_set_is_what_the_best_epoch_is_chosen_on(cifar10: Path) -> None:
    data = open_cifar("cifar10", cifar10.parent)
    assert (data.source, data.selection, sorted(data.splits)) == ("cifar10", "test", ["test", "train"])
    assert (data.problems, data.is_handwriting, data.has_own_splits) == ((), False, True)


def test_cifar100_has_its_fine_labels(cifar100: Path) -> None:
    data = open_cifar("cifar100", cifar100.parent)
    assert data.class_names == tuple(f"fine {i}" for i in range(100))
    assert list(data.split("train").labels) == batch(0, 7)[b"labels"]
    assert np.array_equal(pixels(data, "test"), [as_image(row) for row in batch(1, 3)[b"data"]])


def test_both_sets_declare_the_colours_that_the_authors_give_of_255(cifar10: Path, cifar100: Path) -> None:
    published = {
        "cifar10": ([125.3, 123.0, 113.9], [63.0, 62.1, 66.7]),
        "cifar100": ([129.3, 124.1, 112.4], [68.2, 65.4, 70.4]),
    }
    for kind, (mean, std) in published.items():
        data = open_cifar(kind, (cifar10 if kind == "cifar10" else cifar100).parent)
        assert data.colour_mean == tuple(value / 255 for value in mean)
        assert data.colour_std == tuple(value / 255 for value in std)


def test_other_data_declares_no_colours() -> None:
    data = open_data("digits")
    assert (data.colour_mean, data.colour_std) == (None, None)


def test_the_data_string_names_kind_and_root(cifar10: Path, cifar100: Path) -> None:
    assert open_data(f"cifar10:{cifar10.parent}").source == "cifar10"
    assert open_data(f"cifar100:{cifar100.parent}").source == "cifar100"


def test_an_image_is_named_by_its_set_and_place(cifar10: Path) -> None:
    assert open_cifar("cifar10", cifar10.parent).indexed("train").name(7) == "cifar-10-batches-py/train[7]"


@pytest.mark.parametrize("key", [b"data", b"labels"])
def test_the_digest_changes_with_any_pixel_and_any_label(cifar10: Path, key: bytes) -> None:
    before = open_cifar("cifar10", cifar10.parent).digest
    assert open_cifar("cifar10", cifar10.parent).digest == before
    content = batch(2)
    content[key][1] = (content[key][1] + 1) % 10
    pickled(cifar10 / TRAIN_FILES[2], content)
    assert open_cifar("cifar10", cifar10.parent).digest != before


class Malicious:
    """An object whose pickle calls a function when it is opened."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_pickle_that_would_run_a_command_is_refused_and_not_run(cifar10: Path, name: str) -> None:
    victim = cifar10.parent / "victim"
    pickled(cifar10 / name, {b"data": Malicious(os.system, f"touch {victim}"), b"labels": []})
    pickle.loads((cifar10 / name).read_bytes())
    assert victim.exists()  # the file is dangerous indeed
    victim.unlink()
    assert f"{name}: the file asks for posix.system" in refusal(cifar10)
    assert not victim.exists()


@pytest.mark.parametrize("function", [eval, exec, getattr, open, __import__, np.load, np.fromfile, Path])
def test_nothing_but_arrays_and_containers_is_admitted(cifar10: Path, function: object) -> None:
    pickled(cifar10 / "test_batch", Malicious(function, "1 + 1"))
    assert "the file asks for" in refusal(cifar10)


def test_a_missing_folder_is_named_with_the_way_to_fetch_it(tmp_path: Path) -> None:
    message = refusal(tmp_path / "cifar-10-batches-py")
    assert message.endswith("does not exist; give the folder that holds it, or --download to fetch it")


@pytest.mark.parametrize("name", ["data_batch_4", "test_batch", "batches.meta"])
def test_a_missing_file_is_named(cifar10: Path, name: str) -> None:
    (cifar10 / name).unlink()
    assert refusal(cifar10) == f"{cifar10 / name} is missing; unpack the archive again"


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("name", ["data_batch_4", "batches.meta"])
def test_a_truncated_file_is_named(cifar10: Path, name: str, keep: float) -> None:
    content = (cifar10 / name).read_bytes()
    (cifar10 / name).write_bytes(content[: int(keep * len(content))])
    assert refusal(cifar10).startswith(f"{cifar10 / name} is damaged: ")


def test_what_is_no_pickle_is_named(cifar10: Path) -> None:
    (cifar10 / "test_batch").write_bytes(b"<html>404 not found</html>")
    assert refusal(cifar10).startswith(f"{cifar10 / 'test_batch'} is damaged: ")


@pytest.mark.parametrize("content", [[1, 2], 3, None, "text", (1,)])
def test_a_pickle_of_another_type_is_named(cifar10: Path, content: object) -> None:
    pickled(cifar10 / "data_batch_1", content)
    message = refusal(cifar10)
    assert message == f"{cifar10 / 'data_batch_1'} holds a {type(content).__name__}, not a CIFAR batch"


@pytest.mark.parametrize(
    "change",
    [
        {b"data": np.zeros((PER_BATCH, 3_071), dtype=np.uint8)},
        {b"data": np.zeros((PER_BATCH, 3_072), dtype=np.float32)},
        {b"data": np.zeros((PER_BATCH + 1, 3_072), dtype=np.uint8)},
        {b"data": "pixels"},
        {b"data": None},
        {b"labels": [1]},
        {b"labels": 3},
        {b"labels": [None] * PER_BATCH},
        {b"labels": ["cat"] * PER_BATCH},
    ],
    ids=str,
)
def test_a_batch_with_the_wrong_content_is_refused(cifar10: Path, change: dict[bytes, Any]) -> None:
    pickled(cifar10 / "test_batch", {**batch(5), **change})
    assert "test" in refusal(cifar10)


@pytest.mark.parametrize("key", [b"data", b"labels"])
def test_a_batch_without_pixels_or_labels_is_refused(cifar10: Path, key: bytes) -> None:
    content = batch(0)
    del content[key]
    pickled(cifar10 / "data_batch_1", content)
    assert "the train files are not CIFAR batches" in refusal(cifar10)


@pytest.mark.parametrize("labels", [[0, 1, 2, 10], [0, 1, 2, -1], [0, 1, 2, 256]])
def test_a_label_without_a_class_is_refused(cifar10: Path, labels: list[int]) -> None:
    pickled(cifar10 / "test_batch", {**batch(5), b"labels": labels})
    assert "test" in refusal(cifar10)


@pytest.mark.parametrize("meta", [{}, {"label_names": None}, {"label_names": 10}, {b"label_names": NAMES}])
def test_a_file_of_class_names_without_any_is_refused(cifar10: Path, meta: dict[Any, Any]) -> None:
    pickled(cifar10 / "batches.meta", meta)
    assert "batches.meta" in refusal(cifar10)


@pytest.mark.skipif("RESNEXT_CIFAR10" not in os.environ, reason="RESNEXT_CIFAR10 names no folder with the real files")
def test_the_real_files_hold_what_is_published() -> None:
    data = open_data(f"cifar10:{os.environ['RESNEXT_CIFAR10']}")
    assert data.class_names == tuple(NAMES)
    train, test = data.split("train"), data.split("test")
    assert isinstance(train, ArrayDataset)
    assert np.bincount(train.labels).tolist() == [5_000] * 10
    assert np.bincount(test.labels).tolist() == [1_000] * 10
    assert train.labels[:5] == [6, 9, 9, 4, 1]
    mean = train.pixels.mean(axis=(0, 1, 2)) / 255
    assert np.abs(mean - [0.49140, 0.48216, 0.44653]).max() < 1e-5
