"""``tunemax clean``: what lies on the disk, and how it is freed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunemax.gpt.data import open_data, prepare
from tunemax.search.cli import main
from tunemax.search.storage.paths import runs_folder, study_folder, trial_folder
from tunemax.search.storage.questions import Question


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and one of compiled functions in it."""
    monkeypatch.setenv("TUNEMAX_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.delenv("TUNEMAX_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["clean", "--json", *words]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_prepared_texts_are_listed_freed_and_made_again(
    caches: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare(str(text))
    book = caches.parent / "book.txt"
    book.write_text(text.read_text() * 3)
    large = prepare(str(book))
    rows = listed(capsys)
    assert list(rows) == [large.name, first.name], "the largest first"
    assert rows[first.name]["bytes"] == sum(path.stat().st_size for path in first.iterdir())
    assert main(["clean", "data", first.name]) == 2
    assert "add --yes if you mean it" in capsys.readouterr().err
    assert main(["clean", "data", first.name, "--yes"]) == 0
    assert not first.exists()
    assert large.exists()
    assert open_data(str(text)).folder == first


def test_only_functions_of_ours_are_freed(caches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = caches / ".compiled"
    folder.mkdir(parents=True, mode=0o700)
    (folder / f"{'0a' * 16}.so").write_bytes(b"x" * 5000)
    (folder / f"{'0a' * 16}.lock").touch()
    (folder / "of_somebody_else.so").write_bytes(b"x")
    assert listed(capsys)["1 functions"]["bytes"] == 5000
    assert main(["clean", "compiled", "--yes"]) == 0
    assert capsys.readouterr().out == "freed 5.0 kB\n"
    assert [path.name for path in folder.iterdir()] == ["of_somebody_else.so"]


def test_runs_of_a_question_that_is_gone_are_freed_by_its_name(
    caches: Path, ask: Callable[..., Question], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = str(ask().storage.url)
    for study in ("q/softmax", "gone/softmax"):
        folder = trial_folder(url, study, 3)
        folder.mkdir(parents=True)
        (folder / "snapshot.safetensors").write_bytes(b"x" * 700)
    mine = study_folder(url, "gone/softmax") / "thesis.tex"
    mine.write_text("mine")
    rows = listed(capsys, "--storage", where)
    assert set(rows) == {"gone"}
    assert rows["gone"]["bytes"] >= 700
    assert main(["clean", "runs", "--yes", "--storage", where]) == 2
    assert main(["clean", "runs", "q", "--yes", "--storage", where]) == 2
    assert main(["clean", "runs", "gone", "--yes", "--storage", where]) == 0
    assert [path for path in (runs_folder(url) / "gone").rglob("*") if path.is_file()] == [mine]
    assert (trial_folder(url, "q/softmax", 3) / "snapshot.safetensors").exists()


def test_a_training_among_the_runs_is_the_users_own(
    caches: Path, ask: Callable[..., Question], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = runs_folder(str(ask().storage.url)) / "mine"
    trained.mkdir(parents=True)
    for name in ("config.json", "checkpoint.safetensors", "metrics.jsonl", "events.out.tfevents.1.host"):
        (trained / name).write_bytes(b"x" * 700)
    assert listed(capsys, "--storage", where) == {}
    assert main(["clean", "runs", "mine", "--yes", "--storage", where]) == 2
    assert len(list(trained.iterdir())) == 4


def test_links_among_the_runs_are_left_alone(
    caches: Path, ask: Callable[..., Question], where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = runs_folder(str(ask().storage.url))
    root.mkdir(exist_ok=True)
    victim = tmp_path / "victim" / "softmax" / "00000"
    victim.mkdir(parents=True)
    (victim / "snapshot.safetensors").touch()
    (root / "gone").symlink_to(tmp_path / "victim")
    assert listed(capsys, "--storage", where) == {}
    (root / "other").mkdir()
    (root / "other" / "softmax").symlink_to(victim.parent)
    main(["clean", "runs", "other", "--yes", "--storage", where])
    assert (victim / "snapshot.safetensors").exists()


@pytest.mark.parametrize("words", [["stuff"], ["data", "nope", "--yes"], ["runs", "../..", "--yes"]])
def test_what_is_not_there_is_refused_in_one_line(
    words: list[str], caches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_to_free(caches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(caches, ignore_errors=True)
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "nothing to free\n"
