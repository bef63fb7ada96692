from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnext.artefact.manifest import Manifest
from resnext.artefact.weights import open_network
from resnext.cli.held_out import called, held_out, images_of, is_trusted
from resnext.data.dataset import Data
from resnext.data.open import open_data


@pytest.fixture(scope="module")
def data(photos: Path) -> Data:
    return open_data(str(photos))


@pytest.fixture(scope="module")
def manifest(artefact: Path) -> Manifest:
    return open_network(str(artefact))[1]


def test_what_a_network_was_trained_on_is_known_again(data: Data, manifest: Manifest) -> None:
    assert is_trusted(data, manifest)
    assert held_out(data, manifest) == "test"
    assert called(data, "test", manifest) == f"{data.source}, test"
    assert called(data, data.selection, manifest) == f"{data.source}, val (the epoch was chosen on them)"


def test_splits_that_came_with_other_data_are_trusted(data: Data, manifest: Manifest) -> None:
    other = replace(data, digest="another", has_own_splits=True)
    assert held_out(other, manifest) == "test"
    assert called(other, other.selection, manifest) == f"{data.source}, val"


def test_of_other_data_without_splits_any_image_may_have_been_trained_on(data: Data, manifest: Manifest) -> None:
    for other, made in (
        (replace(data, digest="another"), manifest),
        (data, manifest.replace(provenance=None)),
    ):
        assert not is_trusted(other, made)
        assert held_out(other, made) == "all"
        assert len(images_of(other, "all").labels) == sum(len(split.labels) for split in data.splits.values())
        assert called(other, "all", made) == f"{data.source}, all (any may have been trained on)"


@pytest.fixture
def others(photos: Path, tmp_path: Path) -> Path:
    """Take some of the photographs alone, which makes other data of them."""
    for colour in ("red", "green", "blue"):
        (tmp_path / "others" / colour).mkdir(parents=True)
        for path in sorted((photos / colour).iterdir())[:5]:
            (tmp_path / "others" / colour / path.name).write_bytes(path.read_bytes())
    return tmp_path / "others"


def test_a_certificate_says_that_its_images_may_have_been_trained_on(
    cli: Callable[..., Any], artefact: Path, others: Path, tmp_path: Path
) -> None:
    done = cli("export", artefact, "--to", "torch", "--out", tmp_path / "model.pt2", "--data", others)
    assert (done.status, done.err) == (0, "")
    assert f" on {others}, all (any may have been trained on), as torch " in done.out
    assert "top-1 the same for 15 of 15 images" in done.out


def test_int8_is_refused_where_images_that_score_may_have_been_trained_on(
    cli: Callable[..., Any], artefact: Path, others: Path, tmp_path: Path
) -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    asked = ("--to", "openvino", "--precision", "int8", "--out", tmp_path / "model.xml", "--data", others)
    done = cli("export", artefact, *asked)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"Error: --precision int8: {others} is not what the artefact was trained on and has no ")
    assert [path.name for path in tmp_path.iterdir()] == ["others"]
