"""From a picture of a data set to its image: decoded, or as it is encoded, where it is kept so."""

from PIL import Image

from resnext.data.dataset import EncodedDataset, Indexed, Picture
from resnext.data.sample import Held
from resnext.data.stream import Sample
from resnext.data.views import Joined, Relabelled, Selected
from resnext.imaging.undecoded import Undecoded


def content_of(picture: Picture) -> bytes | None:
    """Return an image as it is encoded, None where it is not. Raises `ImageError` where it cannot be read."""
    match picture:
        case Sample(content=content):
            return content
        case Indexed(dataset=Held(samples=samples), index=index):
            return samples[index].content
        case Indexed(dataset=Relabelled() | Joined() | Selected() as view, index=index):
            return content_of(Indexed(*view.origin(index)))
        case Indexed(dataset=EncodedDataset() as dataset, index=index):
            return dataset.content(index)
    return None


def whole(picture: Picture) -> Image.Image:
    """Return an image as RGB, every pixel of it. Raises `ImageError` where it cannot be read or decoded."""
    return picture.image()


def undecoded(picture: Picture) -> Image.Image | Undecoded:
    """Return an image of which only the header is read, a decoded one where it is not kept encoded.

    Raises `ImageError` where it cannot be read or is no image within the limits.
    """
    content = content_of(picture)
    return picture.image() if content is None else Undecoded.of(content)
