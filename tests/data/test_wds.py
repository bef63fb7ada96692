import functools
import gzip
import http.server
import json
import socket
import tarfile
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from webdataset import TarWriter

from resnext.data.dataset import Data, DataError
from resnext.data.open import open_data
from resnext.data.stream import Stream


def png(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, samples: list[dict[str, Any]], first: int = 0) -> Path:
    """Write samples as the library does, each with a picture of its own unless it brings one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TarWriter(str(path)) as tar:
        for number, sample in enumerate(samples, start=first):
            tar.write({"__key__": f"{number:03}", "png": png(number), **sample})
    return path


def named(*labels: str) -> list[dict[str, Any]]:
    return [{"txt": label} for label in labels]


def seen(data: Data, split: str = "train") -> list[tuple[str, str]]:
    stream = data.split(split)
    assert isinstance(stream, Stream)
    return [(Path(sample.name).name, data.class_names[sample.label]) for sample in stream.samples()]


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Write three shards of ten cats and ten dogs each, and return what names them."""
    for number in range(3):
        write(tmp_path / f"train-{number:03}.tar", named(*["cat", "dog"] * 10), first=20 * number)
    return f"wds:{tmp_path}/train-{{000..002}}.tar"


def test_without_validation_shards_samples_are_divided_by_content(shards: str) -> None:
    data = open_data(shards)
    assert {name: len(split.labels) for name, split in data.splits.items()} == {"train": 48, "val": 6, "test": 6}
    names = [name for split in data.splits for name, _ in seen(data, split)]
    assert sorted(names) == [f"{number:03}.png" for number in range(60)]
    assert not data.has_own_splits
    assert all(label == ("cat", "dog")[int(name[:3]) % 2] for split in data.splits for name, label in seen(data, split))


def test_copies_never_straddle_a_split(tmp_path: Path) -> None:
    samples = [{"png": png(number // 3), "txt": ("cat", "dog")[number // 3 % 2]} for number in range(60)]
    data = open_data(f"wds:{write(tmp_path / 'a.tar', samples)}")
    places = {name: {int(label[:3]) // 3 for label, _ in seen(data, name)} for name in data.splits}
    assert sum(map(len, places.values())) == 20


def test_options_name_shards_of_other_splits(shards: str, tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"held-{number}.tar", named("dog", "cat"))
    data = open_data(f"{shards}?val={tmp_path}/held-{{0..0}}.tar&test={tmp_path}/held-1.tar")
    assert {name: len(split.labels) for name, split in data.splits.items()} == {"train": 60, "val": 2, "test": 2}
    assert seen(data, "val") == [("000.png", "dog"), ("001.png", "cat")]
    assert data.has_own_splits


def test_a_shard_that_is_named_twice_is_refused_when_opened(shards: str, tmp_path: Path) -> None:
    again = tmp_path / "." / "train-001.tar"
    for source in (
        f"wds:{tmp_path}/train-{{0,0}}.tar",
        f"{shards}?val={again}",
        f"{shards}?test={tmp_path}/x/../{again.name}",
    ):
        with pytest.raises(DataError, match=r"train-0(01)?\.tar is named twice; name every shard once, in one split"):
            open_data(source)


def test_what_ends_like_a_shard_is_one_and_its_index_is_not(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", named("cat", "dog"))
    write(tmp_path / "val-0.v2.tar", named("cat"), first=5)
    (tmp_path / "train-0.tar.idx").write_text("0 1")
    data = open_data(f"wds:{tmp_path}")
    assert {name: len(split.labels) for name, split in data.splits.items()} == {"train": 2, "val": 1}
    assert data.problems == ("train-0.tar.idx: ignored, not named like train-000.tar, val-000.tar or test-000.tar",)


def test_a_folder_of_shards_is_told_apart_by_their_names(tmp_path: Path) -> None:
    write(tmp_path / "train-000.tar", named("cat", "dog"))
    write(tmp_path / "train-001.tar", named("dog", "cat"), first=2)
    write(tmp_path / "validation-000.tar", named("dog"))
    (tmp_path / "readme.md").touch()
    data = open_data(f"wds:{tmp_path}")
    assert [name for name, _ in seen(data)] == ["000.png", "001.png", "002.png", "003.png"]
    assert seen(data, "val") == [("000.png", "dog")]
    assert data.problems == ("readme.md: ignored, not named like train-000.tar, val-000.tar or test-000.tar",)


def test_validation_shards_of_no_trained_class_leave_the_division_to_us(tmp_path: Path) -> None:
    write(tmp_path / "train-000.tar", named(*["cat", "dog"] * 10))
    write(tmp_path / "val-000.tar", named("ant"), first=50)
    data = open_data(f"wds:{tmp_path}")
    assert {name: len(split.labels) for name, split in data.splits.items()} == {"train": 16, "val": 2, "test": 2}
    assert data.problems == ("ant: left out, a class without training images",)


@pytest.mark.parametrize("suffix", ["cls", "txt", "json", "number"])
def test_labels_are_numbers_names_or_fields(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "classes.txt").write_text("wolf\ncat\ndog\n")
    made = {
        "cls": lambda n: {"cls": 1 + n % 2},
        "txt": lambda n: {"txt": ("cat", "dog")[n % 2] + "\n"},
        "json": lambda n: {"json": {"label": ("cat", "dog")[n % 2]}},
        "number": lambda n: {"json": {"label": 1 + n % 2}},
    }[suffix]
    path = write(tmp_path / "a.tar", [made(number) for number in range(20)])
    data = open_data(f"wds:{path}?classes={tmp_path}/classes.txt")
    assert (data.class_names, data.problems) == (("cat", "dog"), ())
    if suffix == "cls":
        assert open_data(f"wds:{path}").class_names == ("1", "2")


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        ({"png": png(9)}, "no label: neither .cls, .txt nor .json"),
        ({"txt": " "}, "the label in its .txt is empty, or no text and no whole number"),
        ({"txt": b"\xff"}, "its .txt is not UTF-8 text"),
        ({"cls": "cat"}, "its .cls holds 'cat', not a whole number from 0 on; a name belongs in .txt"),
        ({"cls": "-1"}, "its .cls holds '-1', not a whole number from 0 on; a name belongs in .txt"),
        ({"json": b"{"}, "its .json is not JSON"),
        ({"json": {"class": 1}}, "its .json has no 'label'"),
        ({"json": {"label": [1]}}, "the label in its .json is empty, or no text and no whole number"),
        ({"json": {"label": True}}, "the label in its .json is empty, or no text and no whole number"),
        ({"json": {"label": -1}}, "its .json holds '-1', not a whole number from 0 on"),
        ({"json": {"label": "\ud800"}}, "its .json holds '\\ud800', which is no Unicode text"),
        ({"cls": "1" * 5000}, f"its .cls holds '{'1' * 40}', not a whole number from 0 on; a name belongs in .txt"),
        ({"png": b"", "txt": "cat"}, "its image has 0 bytes; 1 to 268435456 are allowed"),
    ],
)
def test_a_sample_that_cannot_be_used_is_named_and_left_out(
    tmp_path: Path, sample: dict[str, Any], problem: str
) -> None:
    plain = {key: value.encode() if isinstance(value, str) else value for key, value in sample.items()}
    plain = {key: json.dumps(value).encode() if isinstance(value, dict) else value for key, value in plain.items()}
    path = tmp_path / "a.tar"
    with TarWriter(str(path), encoder=False) as tar:
        for number in range(20):
            tar.write({"__key__": f"{number:03}", "png": png(number), "txt": (b"cat", b"dog")[number % 2]})
        tar.write({"__key__": "bad", **{"png": png(20), **plain}})
    data = open_data(f"wds:{path}")
    assert data.problems == (f"{path}/bad.png: left out, {problem}",)
    assert sum(len(split.labels) for split in data.splits.values()) == 20


def test_a_class_beyond_the_names_is_left_out_and_a_sample_without_an_image_too(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog")
    path = tmp_path / "a.tar"
    with TarWriter(str(path)) as tar:
        for number in range(20):
            tar.write({"__key__": f"{number:03}", "png": png(number), "cls": number % 2})
        tar.write({"__key__": "far", "png": png(20), "cls": 2})
        tar.write({"__key__": "none", "cls": 1})
    assert open_data(f"wds:{path}?classes={tmp_path}/names.txt").problems == (
        f"{path}/far.png: left out, its class is 2, but there are names for 0 to 1 only",
        f"{path}/none.cls: left out, no image among .cls",
    )


def test_strict_decodes_every_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [*named(*["cat", "dog"] * 10), {"png": b"words", "txt": "cat"}])
    assert open_data(f"wds:{path}").problems == ()
    with pytest.raises(DataError, match=r"1 problems(.|\n)*020.png: left out, not an image"):
        open_data(f"wds:{path}", strict=True)


@pytest.mark.parametrize("content", [b"", bytes(10240)])
def test_an_empty_shard_is_named(shards: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train-001.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"train-001\.tar: an empty shard, without a sample"):
        open_data(shards)


def cut_short(content: bytes) -> bytes:
    return content[:5000]


def cut_between_files(content: bytes) -> bytes:
    return content[: content.rindex(b"././@PaxHeader")]


def overwritten_in_the_middle(content: bytes) -> bytes:
    start = content.index(b"././@PaxHeader", 20_000)
    return content[:start] + b"\xff" * 512 + content[start + 512 :]


def words(content: bytes) -> bytes:
    return b"these are words" * 100


@pytest.mark.parametrize("damage", [cut_short, cut_between_files, overwritten_in_the_middle, words])
@pytest.mark.parametrize("val", [False, True])
def test_a_damaged_shard_is_one_sentence_that_names_it(shards: str, tmp_path: Path, damage: Any, val: bool) -> None:
    held = write(tmp_path / "held.tar", named("cat", "dog"))
    path = tmp_path / "train-001.tar"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-001\.tar: a damaged shard, .*; write or fetch it again") as caught:
        open_data(f"{shards}?val={held}" if val else shards)
    assert "\n" not in str(caught.value)


def test_a_shard_that_is_damaged_later_is_a_failed_job(shards: str, tmp_path: Path) -> None:
    data = open_data(shards)
    path = tmp_path / "train-001.tar"
    path.write_bytes(cut_short(path.read_bytes()))
    with pytest.raises(OSError, match=r"train-001\.tar: a damaged shard"):
        seen(data)


def test_compressed_shards_and_what_is_no_file_within_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for number in range(20):
            folder = tarfile.TarInfo(f"d{number}")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            for suffix, content in (("PNG", png(number)), ("txt", (b"cat", b"dog")[number % 2])):
                info = tarfile.TarInfo(f"d{number}/x.{suffix}")
                info.size = len(content)
                tar.addfile(info, BytesIO(content))
    data = open_data(f"wds:{path}")
    assert sum(len(split.labels) for split in data.splits.values()) == 20


def tar_of(path: Path, header: tarfile.TarInfo, content: bytes) -> str:
    """Write a header with its content as it stands, without an end."""
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf() + content)
    return f"wds:{path}"


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("size", [2**20 + 1, 2**33 - 1])
def test_a_header_that_claims_more_than_a_name_needs_is_refused_unread(tmp_path: Path, kind: bytes, size: int) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, size
    with pytest.raises(DataError, match=rf"a damaged shard, a header of {size:,} bytes, more than the 1,048,576 allow"):
        open_data(tar_of(tmp_path / "a.tar.gz", header, bytes(2**16)))


def test_headers_without_an_end_are_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type = tarfile.XHDTYPE
    with pytest.raises(DataError, match="a damaged shard, maximum recursion depth"):
        open_data(tar_of(tmp_path / "b.tar", header, header.tobuf() * 2000))


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"GNU.sparse.size": "9", "GNU.sparse.numblocks": "0"},
        {"GNU.sparse.map": "0,1" * 1000},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
    ],
)
@pytest.mark.parametrize("is_global", [False, True])
def test_a_sparse_file_is_refused_before_its_map_is_read(tmp_path: Path, told: dict[str, str], is_global: bool) -> None:
    header = tarfile.TarInfo("0.png")
    header.size = 2**30
    if not told:
        header.type = tarfile.GNUTYPE_SPARSE
    before = tarfile.TarInfo.create_pax_global_header(told) if is_global else b""
    header.pax_headers = {} if is_global else told
    (tmp_path / "a.tar").write_bytes(before + header.tobuf(tarfile.PAX_FORMAT) + b"1000000000\n" + b"0\n" * 2**16)
    with pytest.raises(DataError, match="a damaged shard, a sparse file, as tar --sparse writes them, which no"):
        open_data(f"wds:{tmp_path}/a.tar")


@pytest.mark.parametrize(
    "shards", ["pipe:cat /etc/passwd", "s3://bucket/a.tar", "gs://b/a.tar", "file:/a.tar", "a.tar::pipe:ls"]
)
def test_only_local_files_and_web_addresses_are_read(shards: str) -> None:
    with pytest.raises(DataError, match="is neither a local path nor an http or https address"):
        open_data(f"wds:{shards}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.tar", "nowhere.tar: No such file or directory"),
        ("a.tar?shuffle=1", r"'shuffle=1' is no option of this source; it takes val=..., test=..., classes=..."),
        ("a.tar?classes=nowhere.txt", "classes=nowhere.txt: No such file"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(f"wds:{source}")


def test_a_folder_without_training_shards_and_a_file_of_equal_names_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "val-000.tar", named("cat"))
    with pytest.raises(DataError, match=r"has no shard named like train-000\.tar"):
        open_data(f"wds:{tmp_path}")
    (tmp_path / "names.txt").write_text("cat\ncat\n")
    with pytest.raises(DataError, match="give every class a line and a name of its own"):
        open_data(f"wds:{path}?classes={tmp_path}/names.txt")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Serve a folder on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_shards_are_read_from_a_web_server(shards: str, served: str) -> None:
    local, remote = open_data(shards), open_data(f"wds:{served}/train-{{000..002}}.tar")
    assert {name: seen(remote, name) for name in remote.splits} == {name: seen(local, name) for name in local.splits}


def test_an_address_keeps_its_own_query_and_options_follow_it(shards: str, served: str, tmp_path: Path) -> None:
    write(tmp_path / "held.tar", named("cat", "dog"), first=90)
    signed = f"wds:{served}/train-000.tar?signature=a%2Fb&expires=9"
    assert sum(len(split.labels) for split in open_data(signed).splits.values()) == 20
    for option in (f"val={tmp_path}/held.tar", f"val={served}/held.tar?signature=c"):
        data = open_data(f"{signed}?{option}")
        assert len(data.split("val").labels) == 2
        assert data.source == f"{signed}?{option}"
    with pytest.raises(DataError, match=r"'vel=1' is no option of this source"):
        open_data(f"{signed}?val={tmp_path}/held.tar&vel=1")


def test_a_server_that_does_not_answer_is_a_failed_job(served: str) -> None:
    with pytest.raises(OSError, match=r"nowhere\.tar cannot be fetched: HTTP Error 404"):
        open_data(f"wds:{served}/nowhere.tar")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="cannot be fetched"):
            open_data(f"wds:http://127.0.0.1:{free.getsockname()[1]}/a.tar")
