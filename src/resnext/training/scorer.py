"""What a network says of the splits of a task, asked by all processes together and in the way that it is shipped."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from resnext.data.dataset import Dataset
from resnext.data.loader import Batch, Loading, evaluation_batches
from resnext.data.stream import Stream
from resnext.evaluation.evaluate import Predict
from resnext.evaluation.metrics import Scores
from resnext.evaluation.outputs import Outputs
from resnext.imaging.transform import normalise
from resnext.model.network import Network
from resnext.spec.recipe import chosen
from resnext.training.machine import Machine
from resnext.training.scoring import outputs, score
from resnext.training.task import Task
from resnext.training.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores networks on the splits of a task; `note` is told of images that could not be read."""

    task: Task
    machine: Machine
    world: World
    device: torch.device
    note: Callable[[tuple[str, ...]], None]

    def score(self, network: Network, split: str) -> Scores:
        """Score a network on every image of a split."""
        data = self.task.data
        scores, left_out = score(self.world, self._predict(network), data.split(split), self._batches, data.class_names)
        self.note(left_out)
        return scores

    def outputs(self, network: Network, split: str) -> Outputs:
        """Return what a network says of every image of a split, in every process."""
        collected, left_out = outputs(self.world, self._predict(network), self.task.data.split(split), self._batches)
        self.note(left_out)
        return collected

    def _predict(self, network: Network) -> Predict[Tensor]:
        preprocessing, dtype = self.task.recipe.preprocessing(), self.machine.dtype
        network = network.to(self.device, dtype)
        return lambda pixels: network(normalise(pixels.to(self.device), preprocessing, dtype))

    def _batches(self, part: Dataset | Stream) -> Iterator[Batch]:
        batch_size = chosen(self.task.recipe.batch_size, "batch_size")
        loading = Loading(batch_size=batch_size, num_threads=self.machine.num_loader_threads)
        return evaluation_batches(part, self.task.recipe.preprocessing(), loading)
