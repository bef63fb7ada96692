import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnext.artefact.store import load_artefact
from resnext.spec.architecture import architecture
from resnext.spec.complexity import complexity, solve_width, template_weights

Cli = Callable[..., Any]


def described(cli: Cli, *arguments: str | Path) -> dict[str, Any]:
    shown = cli("describe", *arguments, "--json")
    assert (shown.status, shown.err) == (0, "")
    return json.loads(shown.out)  # type: ignore[no-any-return]


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_description_of_the_cifar_net_is_pinned(cli: Cli, golden: Callable[[str, str], None]) -> None:
    shown = cli("describe", "resnext29_8x64d")
    assert (shown.status, shown.err) == (0, "")
    golden("describe_resnext29_8x64d.txt", "".join(f"{line.rstrip()}\n" for line in shown.out.splitlines()))


@pytest.mark.parametrize(("name", "size"), [("resnext50_32x4d", 224), ("resnext29_8x64d", 32), ("resnet18", 224)])
def test_a_name_is_described_at_the_size_of_its_stem(cli: Cli, name: str, size: int) -> None:
    found = described(cli, name)
    cost = complexity(architecture(name), size)
    assert (found["name"], found["image_size"]) == (name, [size, size])
    assert (found["params"], found["macs"], found["activations"]) == (cost.params, cost.macs, cost.activations)
    assert [layer["name"] for layer in found["layers"]] == [layer.name for layer in cost.layers]
    assert sum(layer["params"] for layer in found["layers"]) == cost.params
    assert "manifest" not in found
    assert "like" not in found


def test_the_image_size_may_be_given(cli: Cli) -> None:
    assert described(cli, "resnet50", "--image-size", "160")["macs"] == complexity(architecture("resnet50"), 160).macs


def test_classes_of_a_named_network_may_be_given(cli: Cli) -> None:
    found = described(cli, "resnet50", "--num-classes", "7")
    assert found["architecture"]["num_classes"] == 7
    assert found["layers"][-1]["out_channels"] == 7


def test_table_2_is_solved_for_the_described_network(cli: Cli) -> None:
    found = described(cli, "resnet50")["widths_of_equal_complexity"]
    assert [(row["cardinality"], row["base_width"]) for row in found] == [(1, 64), (2, 40), (4, 24), (8, 14), (32, 4)]
    for row in found:
        assert row["base_width"] == solve_width(cardinality=row["cardinality"], like="resnet50")
        network = architecture("resnet50").replace(cardinality=row["cardinality"], base_width=row["base_width"])
        assert row["weights"] == template_weights(network)


def test_basic_blocks_have_no_table_2(cli: Cli) -> None:
    assert described(cli, "resnet18")["widths_of_equal_complexity"] is None
    assert "Table 2" not in cli("describe", "resnet18").out


def test_like_says_how_far_complexity_is_preserved(cli: Cli) -> None:
    shown = words(cli("describe", "resnext50_32x4d", "--like", "resnet50").out)
    ours, theirs = (complexity(architecture(name), 224) for name in ("resnext50_32x4d", "resnet50"))
    assert "resnet50" in shown
    for mine, reference in ((ours.params, theirs.params), (ours.macs, theirs.macs)):
        assert f"{mine / reference - 1:+.2%}" in shown
    found = described(cli, "resnext50_32x4d", "--like", "resnet50")["like"]
    assert (found["name"], found["params"], found["macs"]) == ("resnet50", theirs.params, theirs.macs)


@pytest.mark.parametrize("name", ["resnet50", "resnext29_8x64d"])
def test_a_network_is_exactly_like_itself_whatever_its_classes(cli: Cli, name: str) -> None:
    found = described(cli, name, "--num-classes", "3", "--like", name)
    assert (found["like"]["params"], found["like"]["macs"]) == (found["params"], found["macs"])


def test_a_recipe_is_described_by_its_network_at_its_image_size(cli: Cli, tiny: Path) -> None:
    found = described(cli, tiny)
    assert (found["name"], found["image_size"]) == ("resnext11_2x2d", [16, 16])
    assert found["architecture"]["base_channels"] == 4


def test_a_recipe_that_chooses_its_network_later_says_so_in_one_sentence(cli: Cli) -> None:
    shown = cli("describe", "quick")
    assert shown.status == 2
    assert "--data digits" in shown.err
    assert len(shown.err.splitlines()) == 1


def test_a_recipe_that_adapts_is_described_for_the_data_it_is_given(cli: Cli) -> None:
    found = described(cli, "quick", "--data", "digits")
    assert (found["image_size"], found["architecture"]["num_classes"]) == ([16, 16], 10)


def test_an_artefact_is_described_with_its_classes_scores_and_maker(cli: Cli, artefact: Path) -> None:
    manifest = load_artefact(artefact)[1]
    found = described(cli, artefact)
    assert found["manifest"] == json.loads(manifest.to_json())
    assert (found["image_size"], found["architecture"]["num_classes"]) == ([16, 16], 3)
    shown = words(cli("describe", artefact).out)
    assert "blue, green, red" in shown
    assert manifest.provenance is not None
    assert manifest.provenance.recipe_digest[:12] in shown
    for measured in manifest.measurements:
        assert f"{measured.split}: top-1 error {measured.top1_error_percent:.2f} %" in shown


def test_the_table_and_the_json_have_the_same_numbers(cli: Cli) -> None:
    shown, found = cli("describe", "resnext29_8x64d").out, described(cli, "resnext29_8x64d")
    for layer in found["layers"]:
        [row] = [line.split() for line in shown.splitlines() if line.startswith(f"{layer['name']} ")]
        assert row[-2:] == [f"{layer['params']:,}", f"{layer['macs']:,}"]
    for key in ("params", "macs", "activations"):
        assert f"{found[key]:,}" in shown


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("mobilenet", "resnext50_32x4d"),
        ("resnet51", "depth = 51"),
        ("none.safetensors", "none.safetensors"),
        ("none.toml", "none.toml"),
    ],
)
def test_a_subject_that_is_not_there_is_one_sentence(cli: Cli, subject: str, said: str) -> None:
    shown = cli("describe", subject)
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.startswith("Error: ")
    assert len(shown.err.splitlines()) == 1
    assert said in shown.err


def test_an_unknown_network_to_compare_with_is_one_sentence(cli: Cli) -> None:
    shown = cli("describe", "resnet50", "--like", "alexnet")
    assert (shown.status, len(shown.err.splitlines())) == (2, 1)
    assert "alexnet" in shown.err
