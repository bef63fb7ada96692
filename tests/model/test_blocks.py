from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from resnext.model.blocks import BasicBlock, bare_conv
from resnext.spec.architecture import Architecture
from resnext.spec.plan import ConvPlan, plan


@given(cardinality=st.integers(1, 8), width=st.integers(1, 4), is_training=st.booleans(), seed=st.integers(0, 1_000))
def test_at_depth_two_aggregation_is_one_wide_dense_block(
    *,
    cardinality: int,
    width: int,
    is_training: bool,
    seed: int,
    randomised: Callable[..., None],
    relative_error: Callable[..., float],
) -> None:
    value = Architecture(stage_depths=(1,), block="basic", base_width=cardinality * width, base_channels=6)
    torch.manual_seed(seed)
    block = BasicBlock(plan(value).blocks[0]).double().train(is_training)
    randomised(block, seed)
    first, norm, second = block.transform.conv.weight, block.transform.norm, block.expand.conv.weight
    statistics = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    x = torch.randn(3, 6, 7, 5, dtype=torch.float64)
    paths = []
    for path in range(cardinality):
        part = slice(path * width, (path + 1) * width)
        mean, var, scale, shift = (tensor[part].detach().clone() for tensor in statistics if tensor is not None)
        y = F.batch_norm(F.conv2d(x, first[part], padding=1), mean, var, scale, shift, training=is_training)
        paths.append(F.conv2d(torch.relu(y), second[:, part], padding=1))
    expected = torch.relu(block.expand.norm(torch.stack(paths).sum(0)) + x)
    block.expand.norm.train(is_training)
    assert relative_error(block(x), expected) <= 1e-11


@given(
    shape=st.tuples(*[st.integers(1, 4)] * 3), kernel_size=st.sampled_from([1, 3, 7]), stride=st.sampled_from([1, 2])
)
def test_grouped_convolution_is_its_groups_side_by_side(
    shape: tuple[int, int, int], kernel_size: int, stride: int, relative_error: Callable[..., float]
) -> None:
    groups, inputs, outputs = shape
    channels = {"in_channels": groups * inputs, "out_channels": groups * outputs}
    layer = ConvPlan(name="conv", **channels, kernel_size=kernel_size, stride=stride, groups=groups)
    conv = bare_conv(layer).double()
    num_weights = kernel_size**2 * (groups * inputs) * (groups * outputs) // groups
    assert conv.weight.numel() == layer.num_weights == num_weights
    x = torch.randn(2, groups * inputs, 9, 8, dtype=torch.float64)
    options: dict[str, Any] = {"stride": stride, "padding": kernel_size // 2}
    parts = [F.conv2d(*pair, **options) for pair in zip(x.chunk(groups, 1), conv.weight.chunk(groups), strict=True)]
    assert relative_error(conv(x), torch.cat(parts, 1)) <= 1e-11
