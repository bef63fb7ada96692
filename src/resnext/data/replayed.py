"""Batches for one score after another: decoded once, and kept as bytes as long as they fit into memory."""

from collections.abc import Iterator

from resnext.data.dataset import Dataset
from resnext.data.loader import DEFAULT_LOADING, Batch, Loading, evaluation_batches
from resnext.data.stream import Stream
from resnext.data.views import MAX_REMEMBERED_BYTES, Selected
from resnext.spec.preprocessing import Preprocessing


class Replayed:
    """Every readable image of a data set, in order, as often as it is asked for; one reader at a time.

    The first batches stay in memory, up to `MAX_REMEMBERED_BYTES` of pixels; those beyond are made anew every time.
    """

    def __init__(
        self, dataset: Dataset | Stream, preprocessing: Preprocessing, loading: Loading = DEFAULT_LOADING
    ) -> None:
        self._dataset = dataset
        self._preprocessing = preprocessing
        self._loading = loading
        self._kept: list[Batch] = []
        self._num_bytes = 0

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches that `evaluation_batches` does."""
        yield from tuple(self._kept)
        has_room = True
        for batch in self._made_anew(len(self._kept) * self._loading.batch_size):
            has_room = has_room and self._num_bytes + batch.pixels.nbytes <= MAX_REMEMBERED_BYTES
            if has_room:
                self._num_bytes += batch.pixels.nbytes
                self._kept.append(batch)
            yield batch

    def _made_anew(self, first: int) -> Iterator[Batch]:
        """Make the batches from an image on."""
        num_images = len(self._dataset.labels)
        if first >= num_images:
            return iter(())
        if isinstance(self._dataset, Stream):
            rest: Dataset | Stream = self._dataset.stretch(first, num_images)
        else:
            rest = Selected(self._dataset, range(first, num_images))
        return evaluation_batches(rest, self._preprocessing, self._loading)
