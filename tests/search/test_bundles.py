"""Candidates of different architecture, from a study file to a confirmed row of every view."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState
from optuna_dashboard import get_note

from tunemax.gpt.config import Config
from tunemax.search import figures, leaderboard, trials
from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.question.study_file import load_study_file
from tunemax.search.results.confirmation import confirmation, confirmations
from tunemax.search.results.findings import gather
from tunemax.search.results.repeats import lay_out_repeats
from tunemax.search.results.winners import confirm
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.views.answer import answer
from tunemax.search.views.dashboard.publish import publish
from tunemax.search.views.report import write
from tunemax.search.workers.events import Event

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
MODERN = {"position": "rotary", "norm": "rms", "mlp": "swiglu", "qk_norm": "rms"}
OURS = {"softmax_variant": "constantmax", "attention": "multi_query", "norm": "rms", "norm_position": "peri"}
DEEP = {"n_layer": 2}
BUNDLES: dict[str, dict[str, Any]] = {"baseline": {}, "modern": MODERN, "ours": OURS}
CHANGES = {
    "per": None,
    "compare": None,
    "candidates": BUNDLES,
    "space": {"learning_rate": [0.003, 0.03], "constantmax.gamma": [50, 100]},
    "budget": {"trials": 2, "equal": "iterations"},
}
SEVEN = Confirm(seeds=7)


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, defined: Callable[..., Any], corpus: Any, work: Work, empty_database: Path
) -> str:
    """The storage of a question that was tuned and confirmed."""
    from tunemax.search.storage.questions import create

    where = tmp_path_factory.mktemp("bundles") / "studies.db"
    shutil.copyfile(empty_database, where)
    question = create(where, defined(**CHANGES), corpus)
    work(question)
    work(confirm(question, SEVEN))
    question.storage.engine.dispose()  # what stands beside the file goes into it
    return str(where)


@pytest.fixture
def bundles(ended: str, where: str) -> str:
    shutil.copyfile(ended, where)
    return where


def test_each_trains_what_it_says_in_trainers_of_its_own_shape(bundles: str) -> None:
    for study, found in load_from(bundles, "q").trials().items():
        own = BUNDLES[study.removeprefix("q/")]
        configs = [Config.stored(json.loads(trial.system_attrs[attributes.CONFIG])) for trial in found]
        assert len(configs) == 2
        for config, trial in zip(configs, found, strict=True):
            assert trial.state == TrialState.COMPLETE
            assert {name: config.flat()[name] for name in own} == own
            assert ("constantmax.gamma" in trial.params) == (study == "q/ours")


def test_every_view_names_them(bundles: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = load_from(bundles, "q")
    board = leaderboard("q", bundles)
    assert set(board.index) == set(BUNDLES)
    assert (board["confirmed_1x_seeds"] == 7).all()
    assert board["parameters"].nunique() == 3
    assert set(trials("q", bundles)["candidate"]) == set(BUNDLES)
    assert {"curves", "confirmed-1x"} <= set(figures("q", bundles))
    said = answer(gather(question))
    _, markdown, table = (path.read_text() for path in write(question, tmp_path))
    for name in BUNDLES:
        assert name in said
        assert f"\n{name}," in table
    assert "| mlp | swiglu | fixed in modern |" in markdown
    assert "| constantmax.gamma | 50.0, 100.0 | searched |" in markdown
    publish(question)
    assert "modern" in get_note(question.study("q/ours"))
    assert main(["study", "best", "q/modern", "--storage", bundles]) == 0
    command = capsys.readouterr().out
    assert all(f"--{name} {value}" in command for name, value in MODERN.items())


def test_a_confirmation_is_paired_and_names_the_reference(bundles: str) -> None:
    (found,) = confirmations(load_from(bundles, "q"))
    assert found.reference == "baseline", "the first, since none is called softmax"
    assert {tuple(sorted(entry.losses)) for entry in found.entries} == {tuple(range(1001, 1008))}
    assert all(entry.versus for entry in found.entries if entry.candidate != "baseline")


def test_one_that_joins_is_tuned_and_confirmed_on_the_same_seeds(bundles: str, ask: Ask, work: Work) -> None:
    before = load_from(bundles, "q").trials()
    grown = ask(**CHANGES | {"candidates": {"deep": DEEP, **BUNDLES}})
    work(grown)
    opened = confirm(grown, SEVEN)
    told = {event.study for event in work(opened) if hasattr(event, "study")}
    assert told == {"q.confirmed/deep"}, "only what is missing is trained"
    after = load_from(bundles, "q").trials()
    assert list(after) == ["q/baseline", "q/modern", "q/ours", "q/deep"]
    assert {name: [trial.value for trial in after[name]] for name in before} == {
        name: [trial.value for trial in found] for name, found in before.items()
    }
    found = confirmation(load_from(bundles, "q.confirmed"))
    deep = found.entry("deep")
    assert deep
    assert deep.versus
    assert sorted(deep.losses) == list(range(1001, 1008))
    assert "of models of 1×16 and 2×16" in found.where(*found.entries)


def test_a_repeat_has_the_same_candidates(ask: Ask) -> None:
    question = ask(**CHANGES | {"repeats": 2})
    (again,) = lay_out_repeats(question)
    assert again.definition.candidates == question.definition.candidates
    assert list(again.siblings) == [f"q.repeat-2/{name}" for name in BUNDLES]


def test_the_file_is_written_as_it_means_and_the_question_is_deleted(
    bundles: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "show", "q", "--yaml", "--storage", bundles]) == 0
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out)
    definition = load_from(bundles, "q").definition
    assert load_study_file(tmp_path / "again.yaml").with_fingerprint(str(definition.fingerprint)) == definition
    assert main(["study", "delete", "q", "--yes", "--storage", bundles]) == 0
    assert optuna.get_all_study_names(f"sqlite:///{bundles}") == []


def test_who_leaves_one_out_or_changes_it_is_told_in_one_line(
    bundles: str, plan: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for candidates, message in (
        (
            {"baseline": {}, "ours": OURS},
            "candidates: [baseline, modern, ours] -> [baseline, ours] (modern has its study",
        ),
        (BUNDLES | {"modern": {**MODERN, "mlp": "geglu"}}, "candidates.modern.mlp: swiglu -> geglu"),
    ):
        (tmp_path / "q.yaml").write_text(yaml.safe_dump(plan(**CHANGES | {"candidates": candidates})))
        assert main(["study", "run", str(tmp_path / "q.yaml"), "--storage", bundles]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1


def test_the_short_form_is_a_bundle_of_one_field(ask: Ask, work: Work) -> None:
    """What began with `per` goes on with candidates of the same names."""
    work(ask(budget={"trials": 1}))
    named = {name: {"softmax_variant": name} for name in ("softmax", "polymax")}
    grown = ask(per=None, compare=None, candidates={**named, "rms": {"norm": "rms"}}, budget={"trials": 1})
    assert {event.study for event in work(grown) if hasattr(event, "study")} == {"q/rms"}


def test_a_variant_that_candidates_search_is_no_candidate(ask: Ask, work: Work, where: str) -> None:
    space = {"learning_rate": [0.003, 0.03], "softmax_variant": ["softmax", "polymax"]}
    question = ask(per="norm", compare=["layer", "rms"], space=space, budget={"trials": 2})
    work(question)
    assert set(leaderboard("q", where).index) == {"layer", "rms"}
