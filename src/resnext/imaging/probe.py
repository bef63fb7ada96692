"""What the header of an encoded image says, read without decoding a pixel."""

from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from resnext.imaging.decode import FORMATS, TRANSPOSES, ImageError, orientation

_SUFFIXES = {
    "BMP": {".bmp"},
    "GIF": {".gif"},
    "JPEG": {".jpeg", ".jpg", ".jfif"},
    "PNG": {".png"},
    "PPM": {".pgm", ".ppm"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an encoded image says of itself.

    `mode` is Pillow's name for its kind of pixels; `orientation` is that of EXIF, 1 where it is upright;
    `is_animated`, that it has more than one frame.
    """

    format: str
    mode: str
    has_alpha: bool
    orientation: int
    is_animated: bool

    @property
    def is_turned(self) -> bool:
        """Whether the image is stored otherwise than upright."""
        return self.orientation in TRANSPOSES

    def fits(self, suffix: str) -> bool:
        """Tell whether a file of this format may have a suffix, such as `.jpg`."""
        return suffix.lower() in _SUFFIXES[self.format]


def probe(content: bytes) -> Header:
    """Return what the header of an encoded image says. Raises `ImageError` where there is none to be read."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            is_photograph_with_previews = image.format == "MPO"
            return Header(
                format="JPEG" if is_photograph_with_previews else str(image.format),
                mode=image.mode,
                has_alpha=image.has_transparency_data,
                orientation=orientation(image),
                is_animated=not is_photograph_with_previews and bool(getattr(image, "is_animated", False)),
            )
    except Exception as error:  # decoders of damaged files raise almost anything; `decode` says it better
        raise ImageError(f"no image header: {error}", "not_an_image") from None
