from pathlib import Path

import pytest
import torch
from torch import nn

from resnext.inference import remembered
from resnext.inference.remembered import Memory, key_of


def test_what_is_remembered_is_there_in_another_process_and_the_oldest_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(remembered, "_MOST_REMEMBERED", 2)
    for number in range(4):
        Memory("numbers").remember(str(number), number)
    assert [Memory("numbers").recall(str(number)) for number in range(4)] == [None, 1, 2, 3]


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxscript", "onnxruntime", "openvino"])
def test_a_key_changes_with_the_version_of_whatever_makes_or_runs_an_engine(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    network, example = nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)
    before = key_of(network, example, "fp32")
    version = remembered._version
    monkeypatch.setattr(remembered, "_version", lambda name: "another" if name == package else version(name))
    assert key_of(network, example, "fp32") != before
    assert key_of(network, example, "bf16") != key_of(network, example, "fp32")
