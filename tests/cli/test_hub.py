import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from resnext.artefact.store import load_artefact

Cli = Callable[..., Any]


@dataclass
class Hub:
    """As much of the hub as it takes to push a repository and to fetch it again."""

    address: str
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    refusal: int = 0
    claimed_bytes: int | None = None
    answers_after_seconds: float = 0.0
    asked: list[str] = field(default_factory=list)

    def commit(self, name: str) -> str:
        """Return the name of what a repository holds now."""
        return sha1(repr(sorted(self.repositories.get(name, {}).items())).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.tokens.add(self.headers.get("Authorization"))
        if self.hub.refusal:
            self._answer(self.hub.refusal, b"{}")
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.hub.created.append(asked)
            self.hub.repositories.setdefault(name, {})
            self._tell({"url": f"{self.hub.address}/{name}", "name": name})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._tell({"files": files})
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.hub.repositories[name][line["value"]["path"]] = content
            commit = self.hub.commit(name)
            self._tell({"commitUrl": f"{self.hub.address}/{name}/commit/{commit}", "commitOid": commit})
        else:
            self._tell({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path.startswith("/api/datasets/"):
            self._describe("/".join(self.path.partition("?")[0].split("/")[2:5]))
            return
        name, _, place = self.path.removeprefix("/").partition("/resolve/")
        file = place.partition("/")[2]
        self.hub.asked.append(f"{name}/{file}" if name.startswith("datasets/") else name)
        time.sleep(self.hub.answers_after_seconds)
        held = self.hub.repositories.get(name)
        if held is None or file not in held:
            self._answer(
                404,
                b"",
                {
                    "X-Error-Code": "RepoNotFound" if held is None else "EntryNotFound",
                    "X-Repo-Commit": self.hub.commit(name),
                },
            )
        else:
            etag = sha1(held[file]).hexdigest()
            claimed = {"X-Linked-Size": str(self.hub.claimed_bytes)} if self.hub.claimed_bytes else {}
            self._answer(200, held[file], {"ETag": f'"{etag}"', "X-Repo-Commit": self.hub.commit(name), **claimed})

    def _describe(self, name: str) -> None:
        """Tell which commit of a data set is the newest, or which files are in it."""
        held = self.hub.repositories.get(name)
        if held is None or self.hub.refusal:
            self._answer(self.hub.refusal or 404, b"", {} if self.hub.refusal else {"X-Error-Code": "RepoNotFound"})
        elif "/tree/" in self.path:
            files = ({"path": file, "size": len(content)} for file, content in held.items())
            self._tell([{"type": "file", "oid": "0" * 40, **file} for file in files])
        elif self.path.endswith("/revision/none"):
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            self._tell({"id": name.removeprefix("datasets/"), "sha": self.hub.commit(name), "private": False})

    def _tell(self, answer: Any) -> None:
        self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("Bound", (Handler,), {"hub": hub})
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def start_asking(
    start: Cli, plain: dict[str, str], hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Start the command line in a process of its own, whose hub is the one here."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delitem(plain, name, raising=False)
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_secret"}
    return lambda *arguments, **environment: start(*arguments, **{**own, **environment})


@pytest.fixture
def ask(start_asking: Callable[..., Any]) -> Cli:
    """Run the command line in a process of its own, and return its status and what it says."""

    def run(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
        shown = start_asking(*arguments, **environment).wait()
        assert "Traceback" not in shown.err, shown.err
        return shown.status, shown.out, shown.err

    return run


def test_what_is_pushed_to_the_hub_is_fetched_from_it_and_from_the_cache(ask: Cli, hub: Hub, artefact: Path) -> None:
    status, out, err = ask("push", artefact, "hf:someone/colours", "--private")
    assert (status, out) == (0, f"{hub.address}/someone/colours\n"), err
    assert sorted(hub.repositories["someone/colours"]) == ["README.md", "config.json", "model.safetensors"]
    assert "private" in (
        hub.created[0].get("visibility"),
        *(key for key, value in hub.created[0].items() if value is True),
    )
    assert hub.tokens == {"Bearer hf_secret"}
    status, out, err = ask("describe", "hf:someone/colours")
    assert (status, "blue, green, red" in out) == (0, True), err
    status, out, err = ask("describe", "hf:someone/colours", HF_HUB_OFFLINE="1")
    assert (status, "blue, green, red" in out) == (0, True), err


@pytest.mark.parametrize(
    ("refusal", "words"), [(401, "run: hf auth login"), (403, "does not let this account"), (418, "status 418")]
)
def test_a_refusal_is_one_sentence(ask: Cli, hub: Hub, artefact: Path, refusal: int, words: str) -> None:
    hub.refusal = refusal
    status, out, err = ask("push", artefact, "hf:someone/colours")
    assert (status, out, len(err.splitlines())) == (1, "", 1), err
    assert words in err


def test_what_is_not_on_the_hub_is_one_sentence(ask: Cli, hub: Hub) -> None:
    status, _, err = ask("describe", "hf:someone/nothing")
    assert (status, "the hub has no such repository" in err, len(err.splitlines())) == (2, True, 1), err
    hub.repositories["someone/empty"] = {}
    status, _, err = ask("describe", "hf:someone/empty")
    assert (status, "has neither model.safetensors nor pytorch_model.bin" in err) == (2, True), err


def test_a_hub_that_is_not_asked_is_one_sentence(ask: Cli, artefact: Path) -> None:
    status, _, err = ask("describe", "hf:someone/colours", HF_HUB_OFFLINE="1")
    assert (status, len(err.splitlines())) == (1, 1), err
    status, _, err = ask("push", artefact, "hf:someone/colours", HF_HUB_OFFLINE="1")
    assert (status, "HF_HUB_OFFLINE is set" in err, len(err.splitlines())) == (1, True, 1), err


def test_from_the_cache_what_never_existed_is_not_asked_for(ask: Cli, hub: Hub, artefact: Path, tmp_path: Path) -> None:
    network, manifest = load_artefact(artefact)
    torch.save(network.state_dict(), tmp_path / "net.bin")
    hub.repositories["someone/bare"] = {"pytorch_model.bin": (tmp_path / "net.bin").read_bytes()}
    for offline in ("0", "1"):
        status, out, err = ask("describe", "hf:someone/bare", HF_HUB_OFFLINE=offline)
        assert (status, manifest.architecture.name in out) == (0, True), err
    for forgotten in (tmp_path / "hf" / "hub").glob("*/.no_exist/*/config.json"):
        forgotten.unlink()
    status, out, err = ask("describe", "hf:someone/bare", HF_HUB_OFFLINE="1")
    assert (status, manifest.architecture.name in out) == (0, True), err


def test_a_file_too_large_to_be_read_is_not_fetched(ask: Cli, hub: Hub, artefact: Path, tmp_path: Path) -> None:
    hub.repositories["someone/large"] = {"model.safetensors": artefact.read_bytes()}
    hub.claimed_bytes = 2**40
    status, _, err = ask("describe", "hf:someone/large")
    assert (status, len(err.splitlines())) == (2, 1), err
    assert "hf:someone/large: model.safetensors has 1,099,511,627,776 bytes; at most" in err
    assert list((tmp_path / "hf").rglob("model.safetensors")) == []


def test_a_card_on_the_hub_that_was_edited_by_hand_stays(ask: Cli, hub: Hub, artefact: Path) -> None:
    assert ask("push", artefact, "hf:someone/colours")[0] == 0
    held = hub.repositories["someone/colours"]
    status, _, err = ask("push", artefact, "hf:someone/colours", "--license", "mit")
    assert (status, "stays" in err, b'license: "mit"' in held["README.md"]) == (0, False, True), err
    held["README.md"] = edited = b"My own words.\n" + held["README.md"]
    held["config.json"] = b"{}"
    status, out, err = ask("push", artefact, "hf:someone/colours")
    assert (status, out, len(err.splitlines())) == (0, f"{hub.address}/someone/colours\n", 1), err
    assert "README.md there was not written by push, or was edited since: it stays" in err
    assert held["README.md"] == edited
    assert b"pretrained_cfg" in held["config.json"]


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_the_first_of_two_processes_has_fetched_the_weights_before_the_other_asks(
    start_asking: Callable[..., Any], hub: Hub, artefact: Path, photos: Path, command: str
) -> None:
    names = ("someone/first", "someone/second")
    hub.repositories |= {name: {"model.safetensors": artefact.read_bytes()} for name in names}
    hub.answers_after_seconds = 0.3
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    processes = [
        start_asking(command, f"hf:{name}", photos, **shared, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank, name in enumerate(names)
    ]
    shown = [process.wait(120) for process in processes]
    assert [each.status for each in shown] == [0, 0], shown
    asked = [name for name in hub.asked if name in names]
    assert set(asked) == set(names)
    assert asked == sorted(asked)


@pytest.fixture
def table(photos: Path, tmp_path: Path) -> bytes:
    """Make a table of labelled photographs."""
    datasets = pytest.importorskip("datasets")
    datasets.load_dataset(str(photos), split="train").to_parquet(tmp_path / "train.parquet")
    return (tmp_path / "train.parquet").read_bytes()


def described(where: str) -> bytes:
    return f"---\nconfigs:\n- config_name: mine\n  data_files: [{{split: train, path: '{where}'}}]\n---\n".encode()


def test_a_data_set_of_the_hub_is_opened_and_again_without_the_hub(ask: Cli, hub: Hub, table: bytes) -> None:
    hub.repositories["datasets/someone/photos"] = {"README.md": described("*.parquet"), "train.parquet": table}
    for offline in ("0", "1"):
        status, out, err = ask("inspect", "hf:someone/photos", "--json", HF_HUB_OFFLINE=offline)
        assert (status, json.loads(out)["num_images"]) == (0, 60), err


@pytest.mark.parametrize(
    ("file", "where"),
    [
        ("README.md", "{host}/train.parquet"),
        (".huggingface.yaml", "{host}/train.parquet"),
        ("README.md", "hf://datasets/another/one/train.parquet"),
    ],
)
def test_a_data_set_of_the_hub_brings_nothing_from_elsewhere(
    ask: Cli, hub: Hub, table: bytes, file: str, where: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        where = where.format(host=f"http://127.0.0.1:{server.getsockname()[1]}")
        text = described(where) if file == "README.md" else described(where).replace(b"---\n", b"")
        hub.repositories["datasets/someone/photos"] = {file: text, "train.parquet": table}
        hub.repositories["datasets/another/one"] = {"train.parquet": table}
        status, out, err = ask("inspect", "hf:someone/photos")
        assert (status, out, len(err.splitlines())) == (2, "", 1), err
        assert f"hf:someone/photos: its {file} takes data from {where}, which is no path within it; fetch that" in err
        asked = {name.removeprefix("datasets/someone/photos/") for name in hub.asked if name.startswith("datasets/")}
        assert asked == {"README.md", ".huggingface.yaml"}
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_data_set_that_is_not_there_is_one_sentence(ask: Cli, hub: Hub, table: bytes) -> None:
    hub.repositories["datasets/someone/photos"] = {"train.parquet": table}
    for source, words in {
        "hf:someone/nothing": "no folder, and no data set of the hub that you may see",
        "hf:some/where/else": "no folder, and no name of a data set of the hub",
        "hf:someone/photos?revision=none": "the hub has no revision 'none' of it",
    }.items():
        status, out, err = ask("inspect", source)
        assert (status, out, words in err, len(err.splitlines())) == (2, "", True, 1), err
    hub.refusal = 503
    status, out, err = ask("inspect", "hf:someone/photos")
    assert (status, out, "the hub gives no answer" in err, len(err.splitlines())) == (1, "", True, 1), err
