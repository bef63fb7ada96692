from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

Cli = Callable[..., Any]


@pytest.fixture
def train(cli: Cli, photos: Path, tiny: Path, tmp_path: Path) -> Cli:
    """Train the tiny recipe on the photos for one epoch into a folder of tmp_path, with more options."""

    def run(name: str, *options: str | Path, data: str | Path = photos) -> Any:
        fixed = ("--recipe", tiny, "--out", tmp_path / name, "--threads", "0", "--set", "epochs=1")
        return cli("train", data, *fixed, *options)

    return run


def test_packed_images_are_told_of_taken_again_and_learnt_from_alike(train: Cli, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shown = [train("plain"), train("first", "--cache", cache), train("second", "--cache", cache)]
    assert [each.status for each in shown] == [0, 0, 0]
    [file] = cache.iterdir()
    for each, said in zip(shown[1:], ("packed now", "as packed before"), strict=True):
        [line] = [line for line in each.err.splitlines() if str(file) in line]
        assert said in line and " kB" in line
    plain, *others = (load_file(tmp_path / name / "last.safetensors") for name in ("plain", "first", "second"))
    for other in others:
        assert all(torch.equal(tensor, other[name]) for name, tensor in plain.items())


def test_a_cache_is_refused_in_one_sentence_where_it_would_not_serve(train: Cli, tmp_path: Path) -> None:
    cases: tuple[tuple[tuple[str, ...], dict[str, str], str], ...] = (
        (("--set", "augmentation.decoding=fast"), {}, "decodes images anew"),
        (("--dry-run",), {}, "writes nothing but its sheet"),
        ((), {"data": "digits"}, "only these are packed"),
    )
    for options, given, why in cases:
        shown = train("run", "--cache", tmp_path / "cache", *options, **given)
        assert shown.status == 2
        [line] = shown.err.splitlines()
        assert line.startswith("Error: ") and why in line
        assert not (tmp_path / "cache").exists() and not (tmp_path / "run").exists()
