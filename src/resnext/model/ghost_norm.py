"""Batch norm over groups of a batch, as large as a device's share of the batch in the paper's runs (section 4).

The official runs normalise 32 (ImageNet) or 16 (CIFAR) images together, those of one GPU. Statistics of groups of the
same size give the same recipe on any number of devices ("ghost" batch norm, Hoffer et al., 2017).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnext.model.blocks import Map
from resnext.model.network import Network

_MOMENTUM = 0.1


class GhostNorm(nn.BatchNorm2d):
    """Batch norm that takes its statistics, in training, from each `num_images` images of the batch alone.

    A batch of another size is cut into groups as equal as can be, none smaller where the batch is larger. What forward
    passes see is kept aside until `fold_statistics`, so that the parts of one step move running statistics once.
    """

    def __init__(self, num_features: int, num_images: int) -> None:
        super().__init__(num_features)
        self.num_images = num_images
        self.register_buffer("seen", torch.zeros(2, num_features), persistent=False)
        self.register_buffer("num_seen", torch.zeros(()), persistent=False)

    def forward(self, x: Map) -> Map:
        """Normalise a map, by statistics of its groups in training and by running ones in evaluation."""
        if not self.training:
            return super().forward(x)
        return torch.cat([self._normalised(group) for group in self.groups(x)])

    def _normalised(self, group: Map) -> Map:
        mean, var = statistics = self.no_statistics()
        normalised = F.batch_norm(group, mean, var, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
        self.see(statistics)
        return normalised

    def groups(self, x: Map) -> tuple[Tensor, ...]:
        """Cut a batch into the groups that have statistics of their own."""
        num_groups = max(1, len(x) // self.num_images)
        least, num_larger = divmod(len(x), num_groups)
        sizes = [least + 1] * num_larger + [least] * (num_groups - num_larger)
        # split, unlike tensor_split, gathers gradients without a map of the whole batch for each group.
        return torch.split(x, sizes)

    def no_statistics(self) -> tuple[Tensor, Tensor]:
        """Return where the mean and the variance of a group, (channels,) each, are to be put."""
        mean, var = torch.zeros_like(self.get_buffer("seen"))
        return mean, var

    def see(self, statistics: tuple[Tensor, Tensor]) -> None:
        """Keep the mean and the variance of a group aside until the next fold."""
        self.get_buffer("seen").add_(torch.stack(statistics))
        self.get_buffer("num_seen").add_(1)

    @property
    def running_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance, (channels,) each, that evaluation normalises by."""
        return self.get_buffer("running_mean"), self.get_buffer("running_var")

    @torch.no_grad()
    def fold(self) -> None:
        """Move the running statistics towards the mean over all groups seen since the last time."""
        seen, num_seen = self.get_buffer("seen"), self.get_buffer("num_seen")
        for running, mean in zip(self.running_statistics, seen / num_seen, strict=True):
            running.lerp_(mean, _MOMENTUM)
        self.get_buffer("num_batches_tracked").add_(1)
        self.forget()

    def forget(self) -> None:
        """Drop what was seen since the last fold, as when a step is taken anew."""
        self.get_buffer("seen").zero_()
        self.get_buffer("num_seen").zero_()


def use_ghost_norm(network: Network, num_images: int) -> None:
    """Replace every batch norm of a network, in any form, in place; parameters and running statistics stay the same."""
    for name, norm in list(network.named_modules()):
        if type(norm) is nn.BatchNorm2d:
            ghost = GhostNorm(norm.num_features, num_images)
            ghost.to(norm.weight.device, norm.weight.dtype).load_state_dict(norm.state_dict(), assign=True)
            network.set_submodule(name, ghost.train(norm.training))


def ghost_norms(network: nn.Module) -> list[GhostNorm]:
    """Return the layers of a network that keep statistics aside."""
    return [module for module in network.modules() if isinstance(module, GhostNorm)]
