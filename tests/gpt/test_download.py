"""Downloads, from a server on this machine: whole or not at all, gone on with, and held to the first checksum."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tunemax.gpt.data import Corpus, download, open_data, sources
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.progress import watched
from tunemax.gpt.text_config import Text

STORIES = [f"Story {i} of {i * i} foxes: the {'very ' * (i % 7)}quick one jumped, naïvely." for i in range(2000)]
BODY = ("\n<|endoftext|>\n".join(STORIES)).encode()


@dataclass
class Served:
    """What the server does: `body` for every path; `behave` in place of that, once each."""

    body: bytes = BODY
    etag: str | None = '"1"'
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    behave: list[Callable[[http.server.BaseHTTPRequestHandler], None]] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def served() -> Iterator[Served]:
    found = Served()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, self.headers.get("Range")))
            if found.behave:
                found.behave.pop(0)(self)
                return
            given, start = self.headers.get("Range"), 0
            if given and self.headers.get("If-Range") == found.etag:
                start = int(given.removeprefix("bytes=").rstrip("-"))
            if start >= len(found.body):
                self.send_error(416)
                return
            self.answer(start, len(found.body))

        def answer(self, start: int, end: int) -> None:
            """Says that all from `start` on comes, and sends it up to `end`."""
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(found.body) - start))
            if found.etag:
                self.send_header("ETag", found.etag)
            self.end_headers()
            self.wfile.write(found.body[start:end])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found.address = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNEMAX_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("TUNEMAX_TINYSTORIES", raising=False)
    return tmp_path / "data"


@pytest.fixture
def stories(served: Served, root: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr(sources, "TINYSTORIES_URL", f"{served.address}/stories.txt")
    return served


def refusal(name: str | Text) -> str:
    with pytest.raises(TunemaxError) as caught:
        open_data(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def text_of(corpus: Corpus) -> list[str]:
    parts = [corpus.decode(corpus.train), *map(corpus.decode, corpus.slices.values())]
    return sorted("".join(parts).splitlines())


def kept(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "downloads").glob("*"))


def broken_off(at: int) -> Callable[[Any], None]:
    return lambda handler: handler.answer(0, at)


# --- a dataset


def test_it_is_fetched_once_and_kept(stories: Served, root: Path) -> None:
    corpus = open_data("tinystories")
    assert text_of(corpus) == sorted(STORIES)
    assert open_data(Text(dataset="tinystories", documents="apart")).documents["train"] > 1500
    shutil.rmtree(corpus.folder)
    assert open_data("tinystories").manifest == corpus.manifest
    assert stories.asked == [("/stories.txt", None)]
    assert kept(root) == ["TinyStoriesV2-GPT4-train.txt"]
    record = json.loads(next((root / ".downloads").glob("*.json")).read_text())
    assert record == {
        "url": f"{stories.address}/stories.txt",
        "sha256": hashlib.sha256(BODY).hexdigest(),
        "bytes": len(BODY),
    }
    assert not list((root / ".downloads").glob("*.partial"))


def test_prepared_tokens_need_the_file_no_more(stories: Served, root: Path) -> None:
    manifest = open_data("tinystories").manifest
    shutil.rmtree(root / "downloads")
    assert open_data("tinystories").manifest == manifest
    assert len(stories.asked) == 1


def test_another_checksum_than_the_first_is_refused(stories: Served, root: Path) -> None:
    corpus = open_data("tinystories")
    shutil.rmtree(root / "downloads")
    shutil.rmtree(corpus.folder)
    stories.body = BODY + b"!"
    said = refusal("tinystories")
    assert "has changed since the first download (sha256 " in said
    assert f"expected {hashlib.sha256(BODY).hexdigest()[:12]}" in said
    assert kept(root) == []
    record = next((root / ".downloads").glob("*.json"))
    assert str(record) in said, "it says how to take the new one"
    record.unlink()
    assert open_data("tinystories").manifest.fingerprint != corpus.manifest.fingerprint


def test_a_kept_file_that_was_changed_is_refused(stories: Served, root: Path) -> None:
    shutil.rmtree(open_data("tinystories").folder)
    path = root / "downloads" / kept(root)[0]
    path.write_bytes(path.read_bytes() + b"!")
    assert f"{path}: has changed since the first download" in refusal("tinystories")
    path.unlink()
    assert text_of(open_data("tinystories")) == sorted(STORIES)


def test_a_copy_of_the_users_own_needs_no_network(
    stories: Served, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "mine.txt"
    copy.write_bytes(BODY)
    monkeypatch.setenv("TUNEMAX_TINYSTORIES", str(copy))
    assert text_of(open_data("tinystories")) == sorted(STORIES)
    assert stories.asked == []
    copy.unlink()
    assert "TUNEMAX_TINYSTORIES = " in refusal("tinystories")


# --- what may go wrong


def test_what_is_not_there_is_told_with_its_status(stories: Served, root: Path) -> None:
    stories.behave = [lambda handler: handler.send_error(404)]
    said = refusal("tinystories")
    assert f"no download from {stories.address}/stories.txt (HTTP 404 Not Found); put that file at {root}" in said
    assert kept(root) == []


def test_a_body_that_breaks_off_is_gone_on_with(stories: Served, root: Path) -> None:
    stories.behave = [broken_off(50_000)]
    assert text_of(open_data("tinystories")) == sorted(STORIES)
    assert stories.asked == [("/stories.txt", None), ("/stories.txt", "bytes=50000-")]


def test_what_has_come_before_the_server_went_away_is_kept_for_the_next_try(stories: Served, root: Path) -> None:
    def gone(handler: Any) -> None:
        handler.send_error(503)

    stories.behave = [broken_off(70_000), gone]
    said = refusal("tinystories")
    assert "HTTP 503" in said
    assert "what has come is kept, and the next try goes on from there" in said
    assert kept(root) == []
    assert text_of(open_data("tinystories")) == sorted(STORIES)
    assert stories.asked[-1] == ("/stories.txt", "bytes=70000-")


@pytest.mark.parametrize("etag", ['"2"', None], ids=["another file", "a server that does not say which file it is"])
def test_a_file_that_may_be_another_one_is_fetched_from_its_beginning(
    stories: Served, root: Path, etag: str | None
) -> None:
    stories.etag = etag and '"1"'
    stories.behave = [broken_off(70_000), lambda handler: handler.send_error(503)]
    refusal("tinystories")
    stories.etag, stories.body = etag, b"X" + BODY[1:]
    corpus = open_data("tinystories")
    assert any(line.startswith("Xtory 0") for line in text_of(corpus)), "no mixture of two files"


def test_a_whole_file_that_was_not_verified_yet_is_fetched_anew(stories: Served, root: Path) -> None:
    open_data("tinystories")
    path, hidden = root / "downloads" / kept(root)[0], root / ".downloads"
    key = next(hidden.glob("*.json")).stem
    os.replace(path, hidden / f"{key}.partial")
    shutil.rmtree(next(root.glob("tinystories-*")))
    assert text_of(open_data("tinystories")) == sorted(STORIES)


def test_a_server_that_falls_silent_is_given_up(stories: Served, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "SILENCE", 0.3)
    silent = threading.Event()

    def wait(handler: Any) -> None:
        handler.answer(0, 10_000)
        handler.wfile.flush()
        silent.wait(20)

    stories.behave = [wait] * 3
    said = refusal("tinystories")
    silent.set()
    assert "(no byte for 0.3 seconds)" in said


def test_nobody_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TINYSTORIES_URL", "http://127.0.0.1:1/stories.txt")
    said = refusal("tinystories")
    assert "no download from http://127.0.0.1:1/stories.txt (" in said
    assert "put that file at" in said


def test_redirects_are_followed_but_not_to_files_of_this_machine(stories: Served, root: Path, tmp_path: Path) -> None:
    def to(where: str) -> Callable[[Any], None]:
        def redirect(handler: Any) -> None:
            handler.send_response(302)
            handler.send_header("Location", where)
            handler.end_headers()

        return redirect

    (tmp_path / "secret").write_text("SECRET " * 99)
    stories.behave = [to(f"file://{tmp_path}/secret")]
    assert "SECRET" not in refusal("tinystories")
    stories.behave = [to(f"{stories.address}/elsewhere")]
    assert text_of(open_data("tinystories")) == sorted(STORIES)
    assert stories.asked[-1][0] == "/elsewhere"


def test_progress_is_told(stories: Served, root: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    with watched(lambda *step: told.append(step)):
        open_data("tinystories")
    fetched = [step for step in told if step[0] == "tinystories: downloaded"]
    assert fetched[-1][1:] == (len(BODY), len(BODY))
    assert [step[1] for step in fetched] == sorted(step[1] for step in fetched)
    assert told[-1][0] == "tinystories: made into tokens"
    assert told[-1][1] == told[-1][2]


def test_ctrl_c_leaves_what_has_come_and_nothing_else(stories: Served, root: Path) -> None:
    came, over = threading.Event(), threading.Event()

    def slowly(handler: Any) -> None:
        handler.answer(0, 60_000)
        handler.wfile.flush()
        came.set()
        over.wait(60)

    stories.behave = [slowly]
    script = (
        "from tunemax.gpt.data import sources, prepare\n"
        f"sources.TINYSTORIES_URL = {stories.address + '/stories.txt'!r}\nprepare('tinystories')"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    assert came.wait(60)
    partial = None
    for _ in range(400):
        partial = next((root / ".downloads").glob("*.partial"), None)
        if partial and partial.stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    over.set()
    assert partial
    assert kept(root) == []
    assert text_of(open_data("tinystories")) == sorted(STORIES)
    assert stories.asked[-1][1] is not None, "it went on from there"


# --- an address as a dataset


def test_an_address_is_a_dataset(served: Served, root: Path) -> None:
    address = f"{served.address}/some/My%20stories.txt?download=1"
    corpus = open_data(address)
    assert corpus.decode(corpus.train).startswith("Story 0")
    assert corpus.manifest.source == address
    assert corpus.manifest.name == "my_20stories"
    open_data(address)
    assert len(served.asked) == 1
    served.body = "".join(json.dumps({"text": story}) + "\n" for story in STORIES).encode()
    table = open_data(Text(dataset=f"{served.address}/table.jsonl", column="text", tokenizer="bpe", vocab_size=300))
    assert text_of(table) == sorted(STORIES)
    assert "neither a known dataset" in refusal("ftp://127.0.0.1/x")


def test_two_addresses_of_one_name_are_two_texts(served: Served, root: Path) -> None:
    one = open_data(f"{served.address}/a/text.txt")
    served.body = BODY.upper()
    other = open_data(f"{served.address}/b/text.txt")
    assert one.manifest.fingerprint != other.manifest.fingerprint
    assert len(kept(root)) == 2
