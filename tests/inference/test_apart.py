from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resnext.artefact.manifest import Manifest
from resnext.inference.apart import footprint
from resnext.inference.contestants import contestants, open_file
from resnext.inference.engines import Ready
from resnext.inference.torch_program import write_program
from resnext.model.forms import build
from resnext.spec.architecture import Architecture, architecture
from resnext.spec.complexity import complexity
from resnext.spec.preprocessing import Preprocessing

HEAVY = Architecture(stage_depths=(1, 1, 1, 4), cardinality=1, base_width=64, num_classes=5)
EAGER = next(entrant for entrant in contestants() if entrant.name == "torchvision eager")

needs_kernel = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system tells no memory")


@needs_kernel
def test_a_contestant_takes_at_least_its_weights_and_not_what_this_process_holds() -> None:
    held = b"x" * 600_000_000
    weights = 4 * complexity(HEAVY, 32).params
    found = footprint(EAGER, HEAVY, (1, 3, 32, 32))
    assert found is not None
    for num_bytes in (found.making_bytes, found.running_bytes):
        assert weights <= num_bytes < 2.5 * weights + 100e6 < len(held)


@needs_kernel
def test_a_file_is_made_without_another_network_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    seen = Preprocessing(image_size=32, resize_size=32)
    manifest = Manifest(architecture=HEAVY, preprocessing=seen, class_names=tuple("abcde"))
    write_program(path, Ready(build(HEAVY).eval(), torch.zeros(1, 3, 32, 32)).program, manifest)
    entrant, _ = open_file(path, has_same_weights=True)
    weights = 4 * complexity(HEAVY, 32).params
    alone, beside = (footprint(each, HEAVY, (1, 3, 32, 32)) for each in (entrant, replace(entrant, file=None)))
    assert alone is not None
    assert beside is not None
    assert weights <= alone.making_bytes < beside.making_bytes - weights / 2


@needs_kernel
def test_what_cannot_be_made_there_has_no_memory() -> None:
    assert footprint(EAGER, architecture("resnext11_2x2d"), (1, 3, 32, 32)) is None
    unknown_there = replace(EAGER, make=lambda subject: lambda: subject.example)  # no other process can import it
    assert footprint(unknown_there, HEAVY, (1, 3, 32, 32)) is None


def test_a_system_that_does_not_tell_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("resnext.inference.apart._PROCESS", tmp_path)
    assert footprint(EAGER, HEAVY, (1, 3, 32, 32)) is None
