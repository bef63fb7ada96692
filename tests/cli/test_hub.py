import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

Cli = Callable[..., Any]

COMMIT = "c" * 40
SCRIPT = "import sys; sys.argv[0] = 'resnext'; from resnext.__main__ import main; main()"


@dataclass
class Hub:
    """As much of the hub as it takes to push a repository and to fetch it again."""

    address: str
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    refusal: int = 0


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
            self._tell({"commitUrl": f"{self.hub.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self._tell({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name, _, file = self.path.removeprefix("/").partition("/resolve/main/")
        held = self.hub.repositories.get(name)
        if held is None or file not in held:
            self._answer(
                404, b"", {"X-Error-Code": "RepoNotFound" if held is None else "EntryNotFound", "X-Repo-Commit": COMMIT}
            )
        else:
            etag = sha1(held[file]).hexdigest()
            self._answer(200, held[file], {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def _tell(self, answer: dict[str, Any]) -> None:
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
def ask(plain: dict[str, str], hub: Hub, tmp_path: Path) -> Cli:
    """Run the command line in a process of its own, whose hub is the one here."""

    def run(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
        own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_secret", **environment}
        names = ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN")
        kept = {name: value for name, value in plain.items() if name not in names}
        command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
        done = subprocess.run(command, env={**kept, **own}, capture_output=True, encoding="utf-8", check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

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
