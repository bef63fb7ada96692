from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest

COMMANDS = ("describe", "inspect", "train", "evaluate", "predict", "export", "benchmark", "push", "env", "study")
BENEATH = ("study run", "study report", "study list")


def stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"


@pytest.mark.parametrize("command", [None, *COMMANDS, *BENEATH])
def test_the_help_of_every_command_is_pinned(
    process: Callable[..., Any], golden: Callable[[str, str], None], command: str | None
) -> None:
    shown = process(*(command or "").split(), "--help")
    assert (shown.status, shown.err) == (0, "")
    golden(f"help_{(command or 'resnext').replace(' ', '_')}.txt", stripped(shown.out))


def test_version_prints_the_installed_one(cli: Callable[..., Any]) -> None:
    shown = cli("--version")
    assert (shown.status, shown.out) == (0, f"resnext {version('resnext')}\n")


def test_without_a_command_the_help_is_shown(cli: Callable[..., Any]) -> None:
    shown = cli()
    assert shown.status == 2
    assert all(command in shown.out + shown.err for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("retrain",), "retrain"),
        (("train",), "data"),
        (("train", "photos", "--colour"), "--colour"),
        (("train", "photos", "--form", "loose"), "grouped"),
        (("train", "photos", "--seed", "-1"), "--seed"),
        (("evaluate", "model.safetensors", "photos", "--batch-size", "0"), "--batch-size"),
        (("predict", "model.safetensors"), "sources"),
        (("predict", "model.safetensors", "cat.jpg", "--top", "0"), "--top"),
    ],
)
def test_wrong_usage_names_what_is_wrong_with_status_2(
    cli: Callable[..., Any], arguments: tuple[str, ...], words: str
) -> None:
    shown = cli(*arguments)
    assert shown.status == 2
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
