import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.spec.architecture import Architecture, architecture
from resnext.spec.plan import BlockPlan, plan

# Table 1, right: stage, blocks, inner width, output width.
RESNEXT50 = [(1, 3, 128, 256), (2, 4, 256, 512), (3, 6, 512, 1024), (4, 3, 1024, 2048)]
RESNET50 = [(1, 3, 64, 256), (2, 4, 128, 512), (3, 6, 256, 1024), (4, 3, 512, 2048)]

SHORTCUTS = {
    "A": {"first": "padding", "later": "padding", "rest": "identity"},
    "B": {"first": "projection", "later": "projection", "rest": "identity"},
    "C": {"first": "projection", "later": "projection", "rest": "projection"},
    "none": {"first": "none", "later": "none", "rest": "none"},
}


def first_blocks(value: Architecture) -> list[BlockPlan]:
    return [stage[0] for stage in plan(value).stages]


def later_blocks(value: Architecture) -> list[BlockPlan]:
    return [block for stage in plan(value).stages for block in stage[1:]]


@pytest.mark.parametrize(("name", "stages"), [("resnext50_32x4d", RESNEXT50), ("resnet50", RESNET50)])
def test_stages_have_the_widths_of_table_1(name: str, stages: list[tuple[int, int, int, int]]) -> None:
    for blocks, (stage, num_blocks, inner, out) in zip(plan(architecture(name)).stages, stages, strict=True):
        assert len(blocks) == num_blocks
        assert {block.stage for block in blocks} == {stage}
        assert {(block.inner_channels, block.out_channels) for block in blocks} == {(inner, out)}


def test_a_bottleneck_is_1x1_then_grouped_3x3_then_1x1() -> None:
    for block in plan(architecture("resnext50_32x4d")).blocks:
        reduce, transform, expand = block.convs
        assert [conv.kernel_size for conv in block.convs] == [1, 3, 1]
        assert [conv.groups for conv in block.convs] == [1, 32, 1]
        assert reduce.out_channels == transform.in_channels == transform.out_channels == expand.in_channels
        assert block.cardinality == 32


def test_a_basic_block_is_two_3x3() -> None:
    for block in plan(architecture("resnet34")).blocks:
        assert [conv.kernel_size for conv in block.convs] == [3, 3]
        assert [conv.groups for conv in block.convs] == [1, 1]
        assert block.out_channels == 64 * 2 ** (block.stage - 1)


@pytest.mark.parametrize("name", ["resnext50_32x4d", "resnet34", "resnext29_8x64d"])
def test_stride_2_is_in_the_first_3x3_of_the_first_block_of_later_stages(name: str) -> None:
    network = plan(architecture(name))
    strided = {conv.name for block in network.blocks for conv in block.convs if conv.stride != 1}
    assert strided == {f"stages.{stage}.0.transform" for stage in range(1, len(network.stages))}
    projections = [block.projection for block in network.blocks if block.projection is not None]
    assert [conv.stride for conv in projections if conv.name != "stages.0.0.shortcut"] == [2] * (
        len(network.stages) - 1
    )


def test_imagenet_stem_is_7x7_of_stride_2_and_a_pool() -> None:
    network = plan(architecture("resnext50_32x4d"))
    stem = network.stem
    assert (stem.in_channels, stem.out_channels, stem.kernel_size, stem.stride, stem.padding) == (3, 64, 7, 2, 3)
    assert network.has_pool
    assert (network.head.in_features, network.head.out_features) == (2048, 1000)


def test_cifar_stem_is_3x3_of_stride_1_without_a_pool() -> None:
    network = plan(architecture("resnext29_8x64d", input_channels=1))
    stem = network.stem
    assert (stem.in_channels, stem.out_channels, stem.kernel_size, stem.stride, stem.padding) == (1, 64, 3, 1, 1)
    assert not network.has_pool
    assert (network.head.in_features, network.head.out_features) == (1024, 10)


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_shortcut_type_decides_what_each_bottleneck_does(shortcut: str) -> None:
    value = architecture("resnext50_32x4d", shortcut=shortcut)
    first, *later = first_blocks(value)
    expected = SHORTCUTS[shortcut]
    assert first.shortcut == expected["first"]
    assert {block.shortcut for block in later} == {expected["later"]}
    assert {block.shortcut for block in later_blocks(value)} == {expected["rest"]}


@pytest.mark.parametrize(("shortcut", "kind"), [("A", "identity"), ("B", "identity"), ("C", "projection")])
def test_first_basic_block_keeps_its_shape_and_so_its_shortcut(shortcut: str, kind: str) -> None:
    assert first_blocks(architecture("resnet18", shortcut=shortcut))[0].shortcut == kind


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_projection_is_there_exactly_where_the_shortcut_projects_and_has_the_shape_of_the_block(shortcut: str) -> None:
    for block in plan(architecture("resnext29_8x64d", shortcut=shortcut)).blocks:
        assert (block.projection is not None) == (block.shortcut == "projection")
        if block.projection is not None:
            conv = block.projection
            assert (conv.kernel_size, conv.groups, conv.stride) == (1, 1, block.stride)
            assert (conv.in_channels, conv.out_channels) == (block.in_channels, block.out_channels)


@given(
    cardinality=st.integers(1, 64),
    base_width=st.integers(1, 64),
    base_channels=st.integers(1, 128),
    n=st.integers(1, 4),
)
def test_base_width_is_absolute_and_base_channels_scale_only_the_outside(
    cardinality: int, base_width: int, base_channels: int, n: int
) -> None:
    value = Architecture(
        stage_depths=(n, 1, n), cardinality=cardinality, base_width=base_width, base_channels=base_channels
    )
    for block in plan(value).blocks:
        scale = 2 ** (block.stage - 1)
        assert block.inner_channels == cardinality * base_width * scale
        assert block.out_channels == 4 * base_channels * scale


@given(
    depths=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    block=st.sampled_from(["bottleneck", "basic"]),
    shortcut=st.sampled_from(sorted(SHORTCUTS)),
)
def test_every_block_takes_what_the_layer_before_it_gives(depths: list[int], block: str, shortcut: str) -> None:
    network = plan(Architecture(stage_depths=tuple(depths), block=block, shortcut=shortcut))
    channels = network.stem.out_channels
    for step in network.blocks:
        for conv in step.convs:
            assert conv.in_channels == channels
            channels = conv.out_channels
    assert network.head.in_features == channels
    assert [len(stage) for stage in network.stages] == depths


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_convs_lists_every_convolution_once(shortcut: str) -> None:
    network = plan(architecture("resnext29_8x64d", shortcut=shortcut))
    names = [conv.name for conv in network.convs()]
    projections = sum(block.shortcut == "projection" for block in network.blocks)
    assert len(names) == len(set(names)) == 1 + 3 * 9 + projections
    blocks = [block.name for block in network.blocks]
    assert all(name == "stem" or name.rpartition(".")[0] in blocks for name in names)
