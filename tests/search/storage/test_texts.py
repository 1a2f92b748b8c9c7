"""The text of a question on machines that have another one, or none: its tokens come through the database."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tunemax.gpt.data import Corpus, load, open_data
from tunemax.gpt.data.manifest import TOKENS
from tunemax.gpt.data.parcel import pack, unpack
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.study_file import define
from tunemax.search.storage import parcels, rows
from tunemax.search.storage.parcels import put
from tunemax.search.storage.questions import Question, create, data_of
from tunemax.search.storage.texts import text_of
from tunemax.search.workers.pulling import Puller

Plan = Callable[..., dict[str, Any]]


@pytest.fixture
def mine(plan: Plan, text: Path, where: str, empty_database: Path, tmp_path: Path) -> Question:
    """A question of a text that is another one on each machine, as python_stdlib is."""
    shutil.copyfile(empty_database, where)
    own = tmp_path / "own.txt"
    own.write_text(text.read_text()[:20_000])
    definition = define(plan(data=str(own), compare=["softmax"], budget={"trials": 1}), name="q")
    return create(where, definition, data_of(where, definition))


@pytest.fixture
def away(mine: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From now on this is another machine, with another text, or without any."""

    def go(*, there: bool = True) -> None:
        monkeypatch.setenv("TUNEMAX_DATA", str(tmp_path / "away"))
        own = tmp_path / "own.txt"
        own.write_text(own.read_text().replace("row", "column")) if there else own.unlink()

    return go


@pytest.mark.parametrize("there", [True, False])
def test_a_worker_of_another_text_gets_the_tokens(
    mine: Question, where: str, away: Callable[..., None], tmp_path: Path, there: bool
) -> None:
    """Both machines train the same question; what has come is kept, and found again by its fingerprint."""
    corpus = open_data(mine.definition.text)
    put(mine.storage, corpus)
    away(there=there)
    assert Puller(where, ["q"]).run()
    (trial,) = mine.trials()["q/softmax"]
    assert trial.state == TrialState.COMPLETE
    arrived = text_of(mine)
    assert arrived.manifest == corpus.manifest
    assert arrived.folder.parent == tmp_path / "away"
    assert (arrived.folder / TOKENS).read_bytes() == (corpus.folder / TOKENS).read_bytes()
    rows.put(mine.storage, f".texts/{corpus.manifest.fingerprint}", b"nobody reads this any more")
    assert text_of(mine).folder == arrived.folder


def test_without_the_tokens_another_text_is_refused(mine: Question, where: str, away: Callable[..., None]) -> None:
    """In a SQLite file nothing was put: who has changed his text is to hear of it."""
    away()
    with pytest.raises(TunemaxError, match=r"q: data .* has fingerprint"):
        Puller(where, ["q"]).run()


def test_tokens_are_put_once(mine: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = open_data(mine.definition.text)
    put(mine.storage, corpus)
    monkeypatch.setattr(parcels, "pack", pytest.fail)
    put(mine.storage, corpus)


def test_too_many_tokens_are_copied_by_hand(
    mine: Question, away: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line says what, and where to; either place will do."""
    monkeypatch.setattr(parcels, "MOST", 10)
    monkeypatch.setenv("TUNEMAX_RUNS", str(tmp_path / "runs"))
    corpus = open_data(mine.definition.text)
    put(mine.storage, corpus)
    away()
    name = corpus.folder.name
    with pytest.raises(TunemaxError) as refused:
        text_of(mine)
    (line,) = str(refused.value).splitlines()
    copy = f"copy the folder *-{corpus.manifest.fingerprint[:12]} of the data of whoever has created the question into "
    assert line.endswith(f"{copy}{tmp_path / 'away'} or {tmp_path / 'runs' / '.texts'}")
    shutil.copytree(corpus.folder, tmp_path / "runs" / ".texts" / name)
    assert text_of(mine).manifest == corpus.manifest


def parcel_of(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return made.getvalue()


def test_what_is_no_parcel_of_the_text_is_refused_in_one_line(
    mine: Question, away: Callable[..., None], corpus: Corpus, tmp_path: Path
) -> None:
    right = pack(open_data(mine.definition.text))
    away()
    row = f".texts/{mine.definition.fingerprint}"
    for parcel, words in (
        (b"no zip", "damaged"),
        (right[:2000], "damaged"),
        (pack(corpus), "has fingerprint"),
        (parcel_of({"../../evil": b"x", "tokens.bin": b"x"}), "manifest.json"),
    ):
        rows.put(mine.storage, row, parcel)
        with pytest.raises(TunemaxError, match=words) as refused:
            text_of(mine)
        assert str(refused.value).startswith("q: the text in the database: ")
        assert len(str(refused.value).splitlines()) == 1
    assert not [path for path in (tmp_path / "away").glob("*") if path.name.startswith(("words-", "evil"))]
    assert not (tmp_path / "evil").exists()


def test_wherever_a_parcel_is_damaged_it_is_whole_or_refused(mine: Question, tmp_path: Path) -> None:
    corpus = open_data(mine.definition.text)
    right, fingerprint, refused = pack(corpus), corpus.manifest.fingerprint, 0
    for place in range(0, len(right), max(len(right) // 100, 1)):
        parcel = bytearray(right)
        parcel[place] ^= 0xFF
        try:
            folder = unpack(bytes(parcel), fingerprint, tmp_path / str(place))
        except TunemaxError as error:
            refused += "\n" not in str(error)
        else:
            assert load(folder).manifest == corpus.manifest
    assert refused > 80


def test_a_parcel_may_come_twice(mine: Question, tmp_path: Path) -> None:
    corpus = open_data(mine.definition.text)
    fingerprint = corpus.manifest.fingerprint
    folders = {unpack(pack(corpus), fingerprint, tmp_path / "twice") for _ in range(2)}
    assert len(folders) == 1
    assert [path.name for path in (tmp_path / "twice").iterdir()] == [corpus.folder.name]


@pytest.mark.services
@pytest.mark.databases
def test_whoever_creates_a_question_on_a_server_puts_them_there(
    plan: Plan, text: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.database()
    own = tmp_path / "own.txt"
    own.write_text(text.read_text()[:20_000])
    definition = define(plan(data=str(own), compare=["softmax"], budget={"trials": 1}), name="q")
    question = create(url, definition, data_of(url, definition))
    own.write_text("another text altogether. " * 2000)
    monkeypatch.setenv("TUNEMAX_DATA", str(tmp_path / "away"))
    assert text_of(question).manifest.fingerprint == question.definition.fingerprint
    assert Puller(url, ["q"]).run()
    assert question.states() == {"complete": 1}
