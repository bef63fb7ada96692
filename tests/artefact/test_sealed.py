import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from resnext.artefact.sealed import SealError, read_sealed, write_atomically, write_sealed

DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda name: name != "__metadata__"
)
WORDS = '{"step": 3, "café": "\N{HONEYBEE}"}'


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Draw a tensor of any type and up to three dimensions, some of them empty, from random bytes."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    content = torch.randint(256, (torch.Size(shape).numel() * dtype.itemsize,), generator=generator, dtype=torch.uint8)
    return (content % 2 if dtype == torch.bool else content).view(dtype).reshape(shape)


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def is_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Compare bit by bit, so that not-a-numbers and signed zeros count too."""
    return first.keys() == second.keys() and all(
        (tensor.dtype, tensor.shape) == (second[name].dtype, second[name].shape)
        and torch.equal(bits(tensor), bits(second[name]))
        for name, tensor in first.items()
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sealed") / "file"


@pytest.fixture(scope="module")
def held() -> dict[str, Tensor]:
    return {"weight": torch.arange(6.0).view(2, 3), "count": torch.tensor(7), "none": torch.zeros(0, 2)}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory, held: dict[str, Tensor]) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "file"
    write_sealed(path, "checkpoint", WORDS, held)
    return path.read_bytes()


def refusal(path: Path, kind: str = "checkpoint") -> str:
    with pytest.raises(SealError) as caught:
        read_sealed(path, kind)
    message = str(caught.value)
    assert message.startswith(f"{path} ") and message.isprintable()
    return message


@given(words=st.text(st.characters(codec="utf-8"), max_size=50), given=st.dictionaries(NAMES, tensors(), max_size=4))
def test_words_and_tensors_come_back_bit_for_bit(scratch: Path, words: str, given: dict[str, Tensor]) -> None:
    write_sealed(scratch, "checkpoint", words, given)
    read, back = read_sealed(scratch, "checkpoint")
    assert read == words
    assert is_same(back, given)
    assert [path.name for path in scratch.parent.iterdir()] == [scratch.name]


@pytest.mark.parametrize(
    "view",
    [
        torch.arange(24.0).view(4, 6).t(),
        torch.arange(24.0)[::3],
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.tensor(3.0).expand(2, 2),
        torch.nn.Parameter(torch.ones(3)),
    ],
)
def test_tensors_may_be_views_of_any_kind(scratch: Path, view: Tensor) -> None:
    write_sealed(scratch, "checkpoint", "", {"view": view})
    _, back = read_sealed(scratch, "checkpoint")
    assert is_same(back, {"view": view.detach()})


@settings(max_examples=300)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_an_altered_byte_anywhere_is_refused_unless_it_means_the_same(
    scratch: Path, content: bytes, held: dict[str, Tensor], place: float, flip: int
) -> None:
    damaged = bytearray(content)
    damaged[int(place * len(content))] ^= flip
    scratch.write_bytes(damaged)
    try:
        words, back = read_sealed(scratch, "checkpoint")
    except SealError as error:
        assert str(error).startswith(f"{scratch} ") and str(error).isprintable()
    else:  # one kind of white space for another in the header
        assert words == WORDS
        assert is_same(back, held)


def test_every_altered_byte_of_the_tensors_is_refused(scratch: Path, content: bytes) -> None:
    for place in range(8 + int.from_bytes(content[:8], "little"), len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        scratch.write_bytes(damaged)
        assert "was altered after it was written" in refusal(scratch)


def test_a_file_cut_off_anywhere_is_refused(scratch: Path, content: bytes) -> None:
    for length in range(len(content)):
        scratch.write_bytes(content[:length])
        assert "is not a whole safetensors file" in refusal(scratch)


def test_a_file_of_another_kind_is_refused(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)
    assert "holds tensors but no resnext manifest" in refusal(scratch, "manifest")
    scratch.unlink()
    assert "does not exist" in refusal(scratch)


def test_tensors_read_do_not_change_when_their_file_is_overwritten(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)
    _, back = read_sealed(scratch, "checkpoint")
    with scratch.open("r+b") as file:
        file.write(bytes(len(content)))
    assert torch.equal(back["weight"], torch.arange(6.0).view(2, 3))


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [full_disk, interrupted])
@pytest.mark.parametrize("place", [(os, "fsync"), (Path, "replace")])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Callable[..., None], place: tuple[object, str]
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(*place, failure)
    with pytest.raises((OSError, KeyboardInterrupt)) as caught:
        write_atomically(path, b"new")
    if failure is full_disk:
        assert str(caught.value) == f"{path} could not be written: No space left on device"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone_or_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    reasons = {tmp_path / "gone" / "file": "No such file or directory", tmp_path / "folder": "Is a directory"}
    for path, reason in reasons.items():
        with pytest.raises(OSError, match="could not be written") as caught:
            write_atomically(path, b"new")
        assert str(caught.value) == f"{path} could not be written: {reason}"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_content_is_on_the_disk_before_the_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flush = tmp_path / "file", os.fsync
    seen: list[bool] = []

    def watched(descriptor: int) -> None:
        seen.append(path.exists())
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_atomically(path, b"new")
    assert seen == [False, True]
