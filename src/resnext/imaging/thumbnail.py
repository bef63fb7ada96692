"""Small pictures for pages."""

from io import BytesIO

from PIL import Image


def thumbnail(image: Image.Image, side: int) -> bytes:
    """Return an RGB image as a JPEG file, its longer side made to fit `side` pixels where it is longer."""
    small = image.copy()
    small.thumbnail((side, side))
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
