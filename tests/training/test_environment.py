from importlib.metadata import requires, version
from pathlib import Path

import pytest
import torch

from resnext.training.environment import environment, requirements, variables
from resnext.training.provenance import versions

LINES = [
    "torch>=2.11",
    "typer<0.30,>=0.29",
    "scikit-learn",
    'huggingface-hub>=1.0; extra == "hub"',
    "datasets>=4.0 ; extra == 'hub'",
    "pywin32; sys_platform == 'win32' and extra == 'dev'",
    "resnext[hub]; extra == 'dev'",
]


def test_requirements_are_listed_by_extra() -> None:
    assert requirements(LINES) == {
        "": ["torch", "typer", "scikit-learn"],
        "hub": ["huggingface-hub", "datasets"],
        "dev": ["pywin32"],
    }


def test_every_required_package_has_its_version() -> None:
    found = environment()["versions"]
    assert found == {**found, **versions()}
    for package in requirements(requires("resnext") or ())[""]:
        assert found[package] in (version(package), torch.__version__)


def test_what_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["pillow", "no-such-package-here>=3; extra == 'rare'", "pillow; extra == 'rare'"]
    monkeypatch.setattr("resnext.training.environment.requires", lambda package: lines)
    assert environment()["extras"] == {"rare": {"no-such-package-here": None, "pillow": version("pillow")}}


def test_the_cpu_is_there() -> None:
    assert environment()["devices"]["cpu"]["capability"] == torch.backends.cpu.get_cpu_capability()


def test_variables_that_matter_are_shown_and_no_others() -> None:
    given = {
        "OMP_NUM_THREADS": "2",
        "RESNEXT_TIMEOUT_SECONDS": "9",
        "SECRET_TOKEN": "x",
        "USER": "alice",
        "PATH": "/bin",
    }
    assert variables(given) == {"OMP_NUM_THREADS": "2", "RESNEXT_TIMEOUT_SECONDS": "9"}


def test_the_home_folder_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert Path.home() == Path("/home/alice")
    assert variables({"HF_HOME": "/home/alice/models"}) == {"HF_HOME": "~/models"}


@pytest.mark.parametrize(
    ("home", "value", "shown"),
    [
        ("/home/alice", "/home/alice", "~"),
        ("/home/alice", "/home/alice2/models", "/home/alice2/models"),
        ("/home/alice", "/data/home/alice/models", "/data/home/alice/models"),
        ("/", "/data/models", "/data/models"),
        ("/", "/", "/"),
    ],
)
def test_only_a_home_that_a_path_begins_with_is_left_out(
    home: str, value: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    assert variables({"HF_HOME": value}) == {"HF_HOME": shown}


def test_who_has_no_home_has_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert variables({"HF_HOME": "/data/models"}) == {"HF_HOME": "/data/models"}


def test_where_models_come_from_is_shown_without_a_password() -> None:
    given = {"HF_ENDPOINT": "https://alice:secret@mirror.example/hub", "HF_HUB_OFFLINE": "1"}
    assert variables(given) == {"HF_ENDPOINT": "https://mirror.example/hub", "HF_HUB_OFFLINE": "1"}
