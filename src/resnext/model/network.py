"""The whole network: stem, stages, head (Table 1)."""

from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from resnext.model.blocks import BasicBlock, Bottleneck, ConvNorm
from resnext.spec.architecture import Architecture
from resnext.spec.plan import POOL_KERNEL, POOL_STRIDE, Form, plan

Images = Float[Tensor, "batch channels height width"]


class Network(nn.Module):
    """A ResNet or ResNeXt in form (c); `build` makes one with the paper's initial weights and in any form.

    Takes images of any size and of as many channels as the architecture says.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        network = plan(architecture)
        block = Bottleneck if architecture.block == "bottleneck" else BasicBlock
        self.architecture = architecture
        self.stem = ConvNorm(network.stem)
        self.pool = (
            nn.MaxPool2d(POOL_KERNEL, POOL_STRIDE, padding=POOL_KERNEL // 2) if network.has_pool else nn.Identity()
        )
        self.stages = nn.ModuleList(nn.Sequential(*(block(b) for b in stage)) for stage in network.stages)
        self.head = nn.Linear(network.head.in_features, network.head.out_features)

    @property
    def form(self) -> Form:
        """Which of the three equivalent forms the blocks have."""
        first_stage = cast(nn.Sequential, self.stages[0])
        return cast(Bottleneck, first_stage[0]).form

    def forward(self, x: Images) -> Float[Tensor, "batch classes"]:
        """Return the logits, (batch, classes), of normalised images (batch, channels, height, width)."""
        return self.features(x)["logits"]

    def features(self, x: Images) -> dict[str, Tensor]:
        """Return every named intermediate of a forward pass.

        `stem` and `stage1`, `stage2`, ... are maps (batch, channels, height, width) after ReLU, `stem` before its
        pool; `pooled` is (batch, features) and `logits` (batch, classes).
        Raises `ValueError` where the images' channels are not the architecture's.
        """
        channels = self.architecture.input_channels
        if x.shape[1] != channels:
            raise ValueError(f"images of shape {tuple(x.shape)}: this network takes (batch, {channels}, height, width)")
        maps = {"stem": F.relu(self.stem(x), inplace=True)}
        x = self.pool(maps["stem"])
        for number, stage in enumerate(self.stages, start=1):
            maps[f"stage{number}"] = x = stage(x)
        maps["pooled"] = x.mean(dim=(2, 3))
        maps["logits"] = self.head(maps["pooled"])
        return maps
