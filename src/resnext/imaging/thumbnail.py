"""Small pictures for pages."""

from io import BytesIO

from PIL import Image

_JPEG_QUALITY = 85


def thumbnail(image: Image.Image, side: int) -> bytes:
    """Return a JPEG of an image, not larger than a square of `side`; one of a few pixels is enlarged pixel by pixel."""
    small = image.convert("RGB")
    times = side // max(small.size)
    if times > 1:
        small = small.resize((small.width * times, small.height * times), Image.Resampling.NEAREST)
    small.thumbnail((side, side))
    stream = BytesIO()
    small.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()
