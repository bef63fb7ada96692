from collections.abc import Iterable
from pathlib import Path

import pytest

from resnext.imaging.sources import image_paths


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Lay out a folder of empty files: what they hold does not matter to their paths."""
    for name in ("b.png", "a.JPG", "notes.txt", "deep/er/c.webp", "deep/z.jpeg", "deep/README"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def found(root: Path, sources: Iterable[str]) -> list[str]:
    return [str(Path(path).relative_to(root)) for path in image_paths(sources)]


def test_files_are_yielded_in_the_order_given(photos: Path) -> None:
    sources = [str(photos / "b.png"), str(photos / "a.JPG"), str(photos / "b.png")]
    assert list(image_paths(sources)) == sources


def test_a_folder_stands_for_the_images_anywhere_below_it_sorted(photos: Path) -> None:
    assert found(photos, [str(photos)]) == ["a.JPG", "b.png", "deep/er/c.webp", "deep/z.jpeg"]


def test_a_folder_without_images_stands_for_nothing(tmp_path: Path) -> None:
    assert list(image_paths([str(tmp_path)])) == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["b.png"]),
        ("[ab].*", ["a.JPG", "b.png"]),
        ("**/*.webp", ["deep/er/c.webp"]),
        ("deep/?.jpeg", ["deep/z.jpeg"]),
    ],
)
def test_a_quoted_pattern_stands_for_what_it_matches_sorted(photos: Path, pattern: str, expected: list[str]) -> None:
    assert found(photos, [str(photos / pattern)]) == expected


def test_a_relative_pattern_is_matched_from_the_current_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert list(image_paths(["deep/*.jpeg", "."])) == [
        "deep/z.jpeg",
        "a.JPG",
        "b.png",
        "deep/er/c.webp",
        "deep/z.jpeg",
    ]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(photos: Path) -> None:
    (photos / "[ab].png").touch()
    assert found(photos, [str(photos / "[ab].png")]) == ["[ab].png"]


@pytest.mark.parametrize("missing", ["none.jpg", "none/*.jpg", "no[ne"])
def test_what_is_missing_is_passed_on_to_be_named_where_it_is_read(photos: Path, missing: str) -> None:
    assert found(photos, [str(photos / missing)]) == [missing]


def test_what_the_user_names_by_hand_is_passed_on_whatever_its_suffix(photos: Path) -> None:
    assert found(photos, [str(photos / "notes.txt")]) == ["notes.txt"]


def test_hidden_files_and_folders_are_passed_over(photos: Path) -> None:
    (photos / ".thumbs").mkdir()
    (photos / ".thumbs" / "b.png").touch()
    (photos / "._b.png").touch()
    assert found(photos, [str(photos)]) == ["a.JPG", "b.png", "deep/er/c.webp", "deep/z.jpeg"]


def test_a_name_too_long_for_the_system_is_left_to_whoever_reads_it() -> None:
    name = "x" * 5_000 + ".png"
    assert list(image_paths([name])) == [name]
