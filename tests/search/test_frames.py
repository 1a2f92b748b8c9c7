"""What a question has found, in a notebook: data frames and figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas
import pytest
import yaml

from tunemax.gpt.errors import TunemaxError
from tunemax.search import answer, confirm_study, curves, figures, leaderboard, run, trials
from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.storage.questions import Question

EVERY = [answer, leaderboard, trials, curves, figures]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, plan: Callable[..., dict[str, Any]]) -> tuple[str, str]:
    """A question that was run from its file and then confirmed: its name and its storage."""
    folder = tmp_path_factory.mktemp("frames")
    changes = {"space": {"learning_rate": [1e-3, 1e-2]}, "sampler": "grid", "budget": {"trials": None}}
    (folder / "which.yaml").write_text(yaml.safe_dump(plan(**changes, workers=1) | {"name": "which"}))
    question = run(folder / "which.yaml")
    assert isinstance(question, Question)
    storage = str(folder / "tunemax.db")
    confirm_study("which", storage, Confirm(seeds=6))
    return "which", storage


def test_a_row_a_candidate_with_what_the_leaderboard_says(ended: tuple[str, str], capsys: Any) -> None:
    board = leaderboard(*ended)
    assert set(board.index) == {"softmax", "polymax"}
    assert board["tuned_loss"].is_monotonic_increasing
    assert (board["confirmed_1x_seeds"] == 6).all()
    assert pandas.api.types.is_float_dtype(board["confirmed_1x_mean"])
    assert main(["study", "leaderboard", ended[0], "--storage", ended[1]]) == 0
    shown = capsys.readouterr().out
    assert all(f"{mean:.4f}" in shown for mean in board["confirmed_1x_mean"])
    assert answer(*ended) in shown


def test_a_row_a_trial_with_its_parameters(ended: tuple[str, str]) -> None:
    frame = trials(*ended)
    assert len(frame) == 4
    assert (frame["state"] == "complete").all()
    assert set(frame["learning_rate"]) == {1e-3, 1e-2}
    assert (frame["iterations"] == 20).all()
    assert (frame["ended"] >= frame["started"]).all()
    best = frame.loc[frame.groupby("candidate")["loss"].idxmin()].set_index("candidate")["loss"]
    assert best.to_dict() == leaderboard(*ended)["tuned_loss"].to_dict()


def test_a_row_an_evaluation(ended: tuple[str, str]) -> None:
    frame, of_trials = curves(*ended), trials(*ended)
    last = frame.groupby(["candidate", "trial"]).last()["loss"]
    assert last.to_dict() == of_trials.set_index(["candidate", "trial"])["loss"].to_dict()
    assert sorted(frame["iteration"].unique()) == [10, 20]


def test_a_confirmation_is_read_by_its_name(ended: tuple[str, str]) -> None:
    name, storage = ended
    seeds = trials(f"{name}.confirmed", storage)["seed"]
    assert (seeds.value_counts() == 2).all()
    assert len(seeds) == 12
    assert "confirmed-1x" in figures(f"{name}.confirmed", storage)


def test_figures_can_be_shown_and_changed(ended: tuple[str, str]) -> None:
    drawn = figures(*ended)
    assert {"curves", "leaderboard", "confirmed-1x", "learning_rate"} <= set(drawn)
    for figure in drawn.values():
        assert len(figure.data) > 0
        figure.update_layout(title="mine")
        assert "mine" in figure.to_json()


def test_a_question_without_trials_has_empty_frames(ask: Callable[..., Question], where: str) -> None:
    ask()
    assert leaderboard("q", where)["tuned_loss"].isna().all()
    assert set(trials("q", where)["state"]) == {"waiting"}
    assert list(curves("q", where).columns) == ["candidate", "trial", "state", "iteration", "loss"]
    assert len(curves("q", where)) == 0


def test_a_diverged_trial_is_told_apart(ask: Callable[..., Question], work: Callable[..., Any], where: str) -> None:
    work(ask(space={"learning_rate": [9.0, 10.0]}, sampler="grid", budget={"trials": None}))
    assert (trials("q", where)["state"] == "diverged").all()
    assert (leaderboard("q", where)["diverged"] == 2).all()


@pytest.mark.parametrize("function", EVERY)
def test_an_unknown_question_is_refused_in_one_line(function: Callable[..., Any], ended: tuple[str, str]) -> None:
    with pytest.raises(TunemaxError, match="did you mean `which`"):
        function("wich", ended[1])


@pytest.mark.parametrize(("function", "package"), [(leaderboard, "pandas"), (trials, "pandas"), (figures, "plotly")])
def test_a_package_that_is_missing_is_named(
    function: Callable[..., Any], package: str, ended: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str, package_of: str | None = None) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("tunemax.search.frames.importlib.import_module", missing)
    with pytest.raises(TunemaxError, match=rf"{package}: not installed; pip install 'tunemax\[notebook\]'"):
        function(*ended)
