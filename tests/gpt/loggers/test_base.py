"""Whoever logs a training: a new kind is told what TensorBoard is told, and one that fails leaves the others alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from tunemax.gpt import run
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import Guard
from tunemax.gpt.loggers import LOGGERS, Loggers, base
from tunemax.gpt.probe import Probe

Make = Callable[..., Config]
FIELDS: dict[str, Any] = {"softmax_variant": "constantmax", "max_iters": 4, "eval_interval": 2, "eval_iters": 1}


class Notebook:
    """A logger that keeps what it is told."""

    pages: list[Notebook]

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        self.folder, self.resumed_at = folder, resumed_at
        self.lines: list[tuple[int, set[str], bool]] = []
        self.completed: bool | None = None

    @classmethod
    def open(cls, folder: Path, config: Config | None, *, resumed_at: int | None = None, **about: Any) -> Self | None:
        page = cls(folder, resumed_at)
        cls.pages.append(page)
        return page

    def log(self, values: Mapping[str, float], iteration: int, probe: Probe | None = None) -> None:
        self.lines.append((iteration, set(values), probe is not None))

    def close(self, completed: bool | None = None) -> None:
        self.completed = completed


class Full(Notebook):
    """One whose disk is full from iteration 4 on."""

    def log(self, values: Mapping[str, float], iteration: int, probe: Probe | None = None) -> None:
        if iteration >= 4:
            raise TunemaxError("full")
        super().log(values, iteration, probe)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> type[Notebook]:
    """A second kind of logger beside TensorBoard."""
    Notebook.pages = []
    monkeypatch.setattr(base, "LOGGERS", (*LOGGERS, Notebook))
    return Notebook


def test_a_second_kind_of_logger_is_told_of_a_run_and_of_how_it_went_on(
    notebook: type[Notebook], small: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run.train(small(**FIELDS, out_dir=str(folder)), lambda row: None)
    run.resume(folder, {"max_iters": 6}, lambda row: None)
    first, second = notebook.pages
    assert [(at, measured) for at, _, measured in first.lines] == [(2, True), (4, True)]
    assert all({"loss/train", "loss/validation", "train/learning_rate"} <= tags for _, tags, _ in first.lines)
    assert (first.resumed_at, second.resumed_at, first.completed) == (None, 5, True)
    assert [at for at, _, _ in second.lines] == [6]


def test_a_run_without_tensorboard_is_still_logged_elsewhere(
    notebook: type[Notebook], small: Make, tmp_path: Path
) -> None:
    run.train(small(**FIELDS, tensorboard=False, out_dir=str(tmp_path / "run")), lambda row: None)
    assert len(notebook.pages[0].lines) == 2
    assert not list(tmp_path.rglob("*tfevents*"))


def test_a_guarded_logger_that_fails_is_closed_and_the_others_go_on(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Notebook.pages = []
    monkeypatch.setattr(base, "LOGGERS", (Full, Notebook))
    told: list[str] = []
    guard = Guard(told.append, "trials go on without theirs")
    trainings = [Loggers(lambda kind: kind.open(tmp_path, None), guard) for _ in range(2)]
    for loggers in trainings:
        for iteration in (2, 4, 6):
            loggers.log({"loss/train": 1.0}, iteration)
        assert loggers
        loggers.close(completed=True)
        assert not loggers
    assert told == ["full; trials go on without theirs"], "once, whichever training it is"
    assert [len(page.lines) for page in Notebook.pages] == [1, 3, 1, 3]
    assert [page.completed for page in Notebook.pages] == [None, True, None, True]


def test_without_a_guard_the_error_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Notebook.pages = []
    monkeypatch.setattr(base, "LOGGERS", (Full,))
    loggers = Loggers(lambda kind: kind.open(tmp_path, None))
    with pytest.raises(TunemaxError, match="full"):
        loggers.log({}, 4)
