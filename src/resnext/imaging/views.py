"""From an image to what the network is shown of it when it is scored."""

from PIL import Image, ImageOps

from resnext.imaging.transform import central_crop, resize_shorter_side
from resnext.spec.protocol import ScoringProtocol


def views(image: Image.Image, protocol: ScoringProtocol) -> tuple[Image.Image, ...]:
    """Return the views of an RGB image: one, ten, or one for each scale.

    Ten crops come in the authors' order: centre, corners by rows, then those of the mirror image.
    """
    preprocessing = protocol.preprocessing
    match protocol.crops:
        case "single":
            return (central_crop(image, preprocessing),)
        case "dense":
            return tuple(resize_shorter_side(image, s, preprocessing.interpolation) for s in protocol.scales)
    resized = resize_shorter_side(image, preprocessing.resize_size, preprocessing.interpolation)
    return tuple(
        crop for whole in (resized, ImageOps.mirror(resized)) for crop in _five_crops(whole, preprocessing.image_size)
    )


def _five_crops(image: Image.Image, size: int) -> list[Image.Image]:
    right, bottom = image.width - size, image.height - size
    centre = (round(right / 2.0), round(bottom / 2.0))
    corners = ((0, 0), (right, 0), (0, bottom), (right, bottom))
    return [image.crop((left, top, left + size, top + size)) for left, top in (centre, *corners)]
