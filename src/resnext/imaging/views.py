"""From an image to what the network is shown of it when it is scored."""

from PIL import Image, ImageOps

from resnext.imaging.transform import central_crop, resize_shorter_side
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.protocol import ScoringProtocol


def views(image: Image.Image, protocol: ScoringProtocol) -> tuple[Image.Image, ...]:
    """Return the views of an RGB image: one, ten, or one for each scale.

    Ten crops come in the authors' order: centre, corners by rows, then those of the mirror image. The centre is that
    of `central_crop`, at most a pixel from theirs.
    """
    preprocessing = protocol.preprocessing
    match protocol.crops:
        case "single":
            return (central_crop(image, preprocessing),)
        case "dense":
            return tuple(resize_shorter_side(image, s, preprocessing.interpolation) for s in protocol.scales)
    resized = resize_shorter_side(image, preprocessing.resize_size, preprocessing.interpolation)
    return (*_five_crops(resized, preprocessing), *_five_crops(ImageOps.mirror(resized), preprocessing))


def _five_crops(image: Image.Image, preprocessing: Preprocessing) -> list[Image.Image]:
    """Crop the centre and the four corners of an image that is resized already."""
    size = preprocessing.image_size
    right, bottom = image.width - size, image.height - size
    corners = ((0, 0), (right, 0), (0, bottom), (right, bottom))
    crops = [image.crop((left, top, left + size, top + size)) for left, top in corners]
    return [central_crop(image, preprocessing), *crops]
