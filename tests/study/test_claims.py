import re
from collections.abc import Callable
from itertools import pairwise

import pytest

from resnext.spec.architecture import architecture
from resnext.spec.complexity import complexity, solve_width, template_weights
from resnext.spec.plan import POOL_KERNEL, POOL_STRIDE, plan
from resnext.spec.protocol import ScoringProtocol
from resnext.spec.recipe import read_recipe
from resnext.study.claims import Claim, claims, find, others
from resnext.study.paper import CROP_224
from resnext.study.published import Published

NOT_OURS = {"every depth", "every template", "Inception-v3", "Inception-v4", "Inception-ResNet-v2", "WRN-28-10"}
EVERY_DEPTH = ("resnet50", "resnext50_32x4d", "resnet101", "resnext101_64x4d", "resnet200")
STAGES = ("conv2", "conv3", "conv4", "conv5")


def line(claim: Claim) -> str:
    where = (claim.table, claim.data or "-", claim.setting)
    grounds = (claim.protocol, claim.confidence or "-", claim.by or "-", claim.source)
    return " | ".join([*where, f"{claim.quantity} = {claim.value} {claim.unit}", *grounds])


def brief(claim: Claim) -> str:
    return f"{claim.quantity} of {claim.setting}"


def of_table(table: str, *quantities: str) -> list[Claim]:
    return [claim for claim in claims() if claim.table == table and claim.quantity in quantities and claim.by is None]


def stated(setting: str, quantity: str, table: str = "Table 1") -> float:
    claim = find(table, setting, quantity)
    assert claim is not None
    return claim.value


def test_every_claim_is_pinned(golden: Callable[[str, str], None]) -> None:
    golden("claims.txt", "".join(f"{line(claim)}\n" for claim in claims()))


def test_no_claim_stands_twice() -> None:
    keys = [(claim.table, claim.data, claim.setting, claim.quantity, claim.protocol, claim.by) for claim in claims()]
    assert len(keys) == len(set(keys))


def test_settings_are_names_of_networks_wherever_the_network_is_one_of_ours() -> None:
    for setting in {claim.setting for claim in claims()} - NOT_OURS:
        assert architecture(setting).name == setting


def test_only_what_others_report_has_their_names_and_no_grade_but_for_counts() -> None:
    assert {claim.table for claim in claims() if claim.by} == {"Reproductions", "Complexity"}
    assert {claim.table for claim in claims() if claim.confidence is None} == {"Reproductions"}


@pytest.mark.parametrize("claim", of_table("Complexity", "params", "macs"), ids=brief)
def test_exact_counts_are_those_of_the_plan(claim: Claim) -> None:
    cost = complexity(claim.setting)
    size = cost.image_size[0]
    assert claim.value == {"params": cost.params, "macs": cost.macs}[claim.quantity]
    assert claim.protocol == f"at {size} pixels with {architecture(claim.setting).num_classes} classes"


@pytest.mark.parametrize("claim", of_table("Complexity", "params_millions", "macs_billions"), ids=brief)
def test_rounded_counts_are_those_of_the_plan(claim: Claim) -> None:
    digits = 3 if re.search(r"_(2x40|4x24|8x14)d", claim.setting) else 2
    assert claim.value == round(in_large_units(claim), digits)


@pytest.mark.parametrize("table", ["Table 1", "Table 7"])
def test_counts_in_the_papers_tables_are_those_of_the_plan_rounded_or_cut_to_a_digit(table: str) -> None:
    found = [claim for claim in of_table(table, "params_millions", "macs_billions") if claim.setting not in NOT_OURS]
    assert found
    for claim in found:
        assert abs(claim.value - in_large_units(claim)) < 0.1


def in_large_units(claim: Claim) -> float:
    cost = complexity(claim.setting)
    return {"params_millions": cost.params / 1e6, "macs_billions": cost.macs / 1e9}[claim.quantity]


def test_counts_of_operations_are_the_macs_once_and_twice() -> None:
    macs = complexity("resnext50_32x4d").macs
    found = {claim.protocol: claim.value for claim in others("resnext50_32x4d", "operations_billions", None)}
    assert found["a multiply-accumulate as one"] == round(macs / 1e9, 2)
    assert found["a multiply-accumulate as two"] == round(2 * macs / 1e9, 2)


@pytest.mark.parametrize("claim", of_table("Table 2", "base_width"), ids=brief)
def test_widths_and_weights_of_table_2_are_those_of_equal_complexity(claim: Claim) -> None:
    value = architecture(claim.setting)
    weights = template_weights(value)
    assert claim.value == value.base_width == solve_width(cardinality=value.cardinality, like="resnet50")
    assert stated(claim.setting, "inner_channels", "Table 2") == plan(value).blocks[0].inner_channels
    assert stated(claim.setting, "template_weights", "Table 2") == weights
    assert stated("every template", "template_weights_thousands", "Table 2") == pytest.approx(weights / 1e3, abs=1.5)
    assert stated("every template", "template_macs_billions", "Table 2") == round(weights * 56 * 56 / 1e9, 2)


@pytest.mark.parametrize("name", ["resnet50", "resnet101", "resnet200"])
def test_stages_of_table_1_are_those_of_the_plan(name: str) -> None:
    assert [stated(name, f"num_blocks_{stage}") for stage in STAGES] == [*architecture(name).stage_depths]


@pytest.mark.parametrize("name", EVERY_DEPTH)
def test_what_table_1_says_of_every_depth_is_in_the_plan(name: str) -> None:
    network = plan(architecture(name))
    sizes = {layer.name: layer.output_size for layer in complexity(name).layers}
    found = {
        "stem_kernel_size": network.stem.kernel_size,
        "stem_stride": network.stem.stride,
        "stem_out_channels": network.stem.out_channels,
        "pool_kernel_size": POOL_KERNEL,
        "pool_stride": POOL_STRIDE,
        "num_classes": network.head.out_features,
    }
    for stage, blocks in zip(STAGES, network.stages, strict=True):
        found[f"out_channels_{stage}"] = blocks[-1].out_channels
        found[f"output_size_{stage}"] = sizes[f"{blocks[-1].name}.expand"][0]
    for stage, (_, blocks) in zip(STAGES[1:], pairwise(network.stages), strict=True):
        found[f"stride_{stage}"] = blocks[0].conv("transform").stride
    assert found == {claim.quantity: claim.value for claim in claims() if claim.setting == "every depth"}


def test_inner_widths_of_table_1_are_those_of_the_plan() -> None:
    widths = [stage[0].inner_channels for stage in plan(architecture("resnext50_32x4d")).stages]
    assert [stated("resnext50_32x4d", f"inner_channels_{stage}") for stage in STAGES] == widths


@pytest.mark.parametrize("claim", of_table("Table 4", "top1_error_change_points"), ids=brief)
def test_changes_of_table_4_are_differences_of_its_errors(claim: Claim) -> None:
    before, after = (stated(name, "top1_error_percent", "Table 4") for name in ("resnet101", claim.setting))
    assert claim.value == round(after - before, 1)


def test_a_network_that_stands_in_several_tables_has_one_error_under_one_protocol() -> None:
    found: dict[str, set[float]] = {}
    for claim in claims():
        is_error = (claim.data, claim.quantity, claim.by) == ("imagenet-1k", "top1_error_percent", None)
        if is_error and claim.protocol in (CROP_224, "with shortcuts"):
            found.setdefault(claim.setting, set()).add(claim.value)
    assert {setting: errors for setting, errors in found.items() if len(errors) > 1} == {}


def test_the_papers_crop_has_the_words_of_the_papers_recipe() -> None:
    assert ScoringProtocol(preprocessing=read_recipe("paper-imagenet").preprocessing()).words() == CROP_224


def test_find_gives_the_papers_number() -> None:
    claim = find("Table 4", "resnext101_64x4d", "top1_error_percent")
    assert claim is not None
    assert (claim.value, claim.unit, claim.data, claim.confidence, claim.by) == (
        20.4,
        "percent",
        "imagenet-1k",
        "A",
        None,
    )


def test_find_gives_nothing_where_the_paper_says_nothing() -> None:
    assert find("Table 3", "resnext50_64x4d", "top1_error_percent") is None
    assert find("Table 7", "resnext29_8x64d", "top1_error_percent", data="digits") is None


def test_data_and_protocol_tell_numbers_of_one_table_apart() -> None:
    large = find("Table 5", "resnet200", "top1_error_percent", protocol="single crop 320")
    fine = find("Table 7", "resnext29_8x64d", "top1_error_percent", data="cifar100")
    assert large is not None and fine is not None
    assert (large.value, fine.value) == (20.1, 17.77)


@pytest.mark.parametrize("protocol", [None, "single crop 331"])
def test_a_question_that_does_not_mean_one_of_several_numbers_is_refused(protocol: str | None) -> None:
    with pytest.raises(ValueError, match=r"Table 5 has .* of resnet200 under .*'single crop 320'; say which"):
        find("Table 5", "resnet200", "top1_error_percent", protocol=protocol)


def test_tables_and_quantities_that_are_not_there_are_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"table = 'Table 9': there are Table 1, .*Timing, Complexity$"):
        find("Table 9", "resnet50", "top1_error_percent")
    with pytest.raises(ValueError, match=r"quantity = 'flops': there are .*top1_error_percent, "):
        find("Table 3", "resnet50", "flops")
    with pytest.raises(ValueError, match=r"quantity = 'error': there are "):
        others("resnet50", "error", "imagenet-1k")


def test_others_are_those_who_report_the_same_network_on_the_same_data() -> None:
    found = others("resnext29_8x64d", "top1_error_percent", "cifar10")
    assert [claim.value for claim in found] == [3.9, 4.0, 3.77]
    assert {claim.by for claim in found} == {"third parties", "a third group"}
    assert others("resnext29_8x64d", "top1_error_percent", "cifar100") == ()


def test_a_row_without_a_value_for_each_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="Table 9, resnet50: 1 values for 2 quantities"):
        Published(
            table="Table 9",
            quantities={"percent": ("top1_error_percent", "top5_error_percent")},
            rows={"single crop": {"resnet50": (23.9,)}},
            confidence="A",
            source="nobody",
        )
