from io import BytesIO
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnext.imaging.jpeg import decode_rows

SIZE = (203, 150)


def noise(width: int, height: int) -> Image.Image:
    cells = np.random.default_rng(0).integers(0, 256, (-(-height // 4), -(-width // 4), 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


@given(
    size=st.tuples(st.integers(16, 200), st.integers(16, 200)),
    part=st.floats(0.01, 1),
    scale=st.sampled_from([1, 2, 4, 8]),
    subsampling=st.integers(0, 2),
    restart=st.sampled_from([0, 1]),
)
def test_the_upper_rows_are_those_of_the_whole_image(
    size: tuple[int, int], part: float, scale: int, subsampling: int, restart: int
) -> None:
    content = encoded(noise(*size), subsampling=subsampling, restart_marker_rows=restart)
    num_rows = max(1, round(part * size[1]))
    rows, whole = (decode_rows(content, size, number, scale) for number in (num_rows, size[1]))
    assert whole.shape == (-(-size[1] // scale), -(-size[0] // scale), 3)
    assert rows.shape == (-(-num_rows // scale), *whole.shape[1:])
    num_blocks = num_rows // 16 * 16 // scale
    assert (rows[:num_blocks] == whole[:num_blocks]).all()


def test_rows_below_are_not_read() -> None:
    content = encoded(noise(*SIZE))
    sabotaged = content[: -len(content) // 4] + bytes(len(content) // 4 - 2) + content[-2:]
    assert (decode_rows(content, SIZE, 50, 1) == decode_rows(sabotaged, SIZE, 50, 1)).all()


@pytest.mark.parametrize(
    "content",
    [
        encoded(noise(*SIZE), progressive=True),
        encoded(noise(*SIZE)) + b"what a camera adds",
        encoded(noise(*SIZE)).replace(b"\xff\xc0", b"\xff\xff\xc0", 1),
    ],
    ids=["progressive", "with a trailer", "with a fill byte"],
)
def test_other_files_are_decoded_whole(content: bytes) -> None:
    assert decode_rows(content, SIZE, 10, 1).shape == (150, 203, 3)


@pytest.mark.parametrize("num_rows", [10, 150])
def test_a_file_cut_short_is_refused(num_rows: int) -> None:
    content = encoded(noise(*SIZE))
    with pytest.raises(ValueError):
        decode_rows(content[: len(content) // 2], SIZE, num_rows, 1)


def test_decoding_differs_from_the_exact_one_by_little() -> None:
    content = encoded(noise(*SIZE).convert("L").convert("RGB"), quality=90)
    exact = simplejpeg.decode_jpeg(content)
    assert np.abs(decode_rows(content, SIZE, SIZE[1], 1).astype(int) - exact).mean() < 4
