import json
import platform
import socket
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch

Cli = Callable[..., Any]


def test_versions_devices_and_extras_are_shown(cli: Cli) -> None:
    shown = cli("env")
    assert (shown.status, shown.err) == (0, "")
    lines = shown.out.splitlines()
    for package in ("resnext", "torchvision", "safetensors", "pydantic"):
        assert f"{package}: {version(package)}" in lines
    assert f"python: {platform.python_version()}" in lines
    assert f"torch: {torch.__version__}" in lines
    assert any(line.startswith("cpu: capability ") for line in lines)
    assert any(line.startswith("memory: ") and line.endswith(" GB") for line in lines)
    assert any(line.startswith("extra dev: ") for line in lines)
    assert "OMP_NUM_THREADS=1" in lines


def test_a_missing_extra_comes_with_the_line_that_installs_it(cli: Cli, monkeypatch: Any) -> None:
    lines = ["pillow", "no-such-package>=3; extra == 'rare'", "numpy; extra == 'rare'"]
    monkeypatch.setattr("resnext.training.environment.requires", lambda package: lines)
    shown = cli("env")
    said = f"extra rare: numpy {version('numpy')}; no-such-package missing: pip install 'resnext[rare]'"
    assert said in shown.out.splitlines()


def test_everything_is_there_as_json(cli: Cli) -> None:
    found = json.loads(cli("env", "--json").out)
    assert found["versions"]["resnext"] == version("resnext")
    assert found["platform"]["num_cores"] >= 1
    assert found["variables"]["OMP_NUM_THREADS"] == "1"
    assert set(found) == {"versions", "commit", "platform", "memory_bytes", "devices", "extras", "variables"}


def test_no_machine_is_named(cli: Cli) -> None:
    assert f" {socket.gethostname()} " not in cli("env").out
