"""Many files classified: the next are decoded and cut while the network computes."""

from collections.abc import Iterable, Iterator
from itertools import islice

from PIL import Image

from resnext.imaging.decode import ImageError
from resnext.imaging.threads import in_threads
from resnext.inference.classifier import Classifier, Prediction

_NUM_THREADS = 2

Prepared = list[tuple[str, Image.Image | ImageError]]


def predict_files(
    classifier: Classifier, paths: Iterable[str], top: int = 5
) -> Iterator[tuple[str, Prediction | ImageError]]:
    """Yield each path with its prediction, or with the error that its image gave; one bad image stops nothing.

    Paths are read some batches ahead.
    """
    remaining = iter(paths)
    batches = iter(lambda: list(islice(remaining, classifier.batch_size)), [])
    for prepared in in_threads(lambda batch: _prepare(classifier, batch), batches, _NUM_THREADS):
        images = [image for _, image in prepared if isinstance(image, Image.Image)]
        answers = iter(classifier.predict_prepared(images, top) if images else [])
        for path, outcome in prepared:
            yield path, outcome if isinstance(outcome, ImageError) else next(answers)


def _prepare(classifier: Classifier, paths: list[str]) -> Prepared:
    return [(path, _prepared_or_error(classifier, path)) for path in paths]


def _prepared_or_error(classifier: Classifier, path: str) -> Image.Image | ImageError:
    try:
        return classifier.prepare(path)
    except ImageError as error:
        return error
