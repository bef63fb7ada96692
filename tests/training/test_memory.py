from mmap import mmap
from pathlib import Path

import pytest
import torch

from resnext.training import memory
from resnext.training.memory import capacity, in_words, resident_bytes

CPU = torch.device("cpu")


def test_a_machine_has_more_memory_than_is_free() -> None:
    room = capacity(CPU)
    assert 0 < room.available_bytes <= room.total_bytes


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux says")
def test_what_this_process_holds_grows_with_what_it_makes() -> None:
    before = resident_bytes()
    with mmap(-1, 100_000_000) as pages:  # new pages of the system's, whatever the process has kept free
        pages.write(bytes(1) * len(pages))
        assert 90e6 < resident_bytes() - before < 250e6


def test_a_container_has_what_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("_LIMIT", 1_000), ("_USED", 400)):
        (tmp_path / name).write_text(f"{number}\n")
        monkeypatch.setattr(memory, name, tmp_path / name)
    assert (capacity(CPU).total_bytes, capacity(CPU).available_bytes) == (1_000, 600)


def test_a_container_without_a_limit_has_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = capacity(CPU).total_bytes
    (tmp_path / "max").write_text("max\n")
    monkeypatch.setattr(memory, "_LIMIT", tmp_path / "max")
    assert capacity(CPU).total_bytes >= without


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [(0, "0 kB"), (12_400, "12 kB"), (312_400_000, "312 MB"), (5_040_000_000, "5.0 GB"), (10**13, "10,000.0 GB")],
)
def test_sizes_are_printed_in_powers_of_ten(num_bytes: int, words: str) -> None:
    assert in_words(num_bytes) == words
