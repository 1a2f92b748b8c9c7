"""Studies from Python: plain Optuna, with our objective."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from sqlalchemy.engine.default import DefaultDialect

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.search import confirm_study, create_study, objective, open_study, run_study
from tunemax.search.api import Ended
from tunemax.search.cli import main
from tunemax.search.machine.processes import WorkerSettings
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.points import RandomPoints
from tunemax.search.question.stages import Confirm
from tunemax.search.storage import attributes
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.questions import Question, create, load_from
from tunemax.search.storage.sampling import SiblingSampler
from tunemax.search.views.live.progress import Progress
from tunemax.search.workers.events import Event, Finished

Ask = Callable[..., Question]
GRID = {
    "sampler": "grid",
    "space": {"learning_rate": [1e-3, 1e-2, 5.0], "weight_decay": [0.0, 0.1]},
    "budget": {"trials": None, "horizon": 40},
}


def told(study: optuna.Study) -> list[tuple[Any, ...]]:
    trials = study.get_trials()
    return [
        (trial.params, trial.state, trial.value, trial.intermediate_values[10], trial.system_attrs[attributes.CONFIG])
        for trial in trials
    ]


def test_optimize_finds_what_a_worker_finds(
    ask: Ask,
    work: Callable[..., Any],
    where: str,
    tmp_path: Path,
    defined: Callable[..., StudyDefinition],
    corpus: Corpus,
) -> None:
    ask(**GRID)
    for name in ("q/softmax", "q/polymax"):
        study = open_study(name, where)
        study.optimize(objective(study), n_trials=6)
    worked = create(str(tmp_path / "other.db"), defined(**GRID), corpus)
    work(worked)
    for name in worked.siblings:
        assert told(open_study(name, where)) == told(worked.study(name))
        assert [attributes.state(trial) for trial in open_study(name, where).get_trials()] == ["complete"] * 4 + [
            "diverged"
        ] * 2


def test_waiting_trials_come_first_and_then_new_ones(ask: Ask, where: str) -> None:
    ask(compare=["softmax"], budget={"trials": 2})
    study = open_study("q/softmax", where)
    study.optimize(objective(study), n_trials=3)
    trials = study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert trials[0].params == {"learning_rate": 0.00316}


def test_it_prunes_and_marks_duplicates_as_a_worker_does(ask: Ask, where: str) -> None:
    ask(
        compare=["softmax"],
        sampler="grid",
        pruner={"name": "median", "startup": 1},
        space={"learning_rate": [3e-2, 1e-6]},
        budget={"trials": 2, "horizon": 40},
    )
    study = open_study("q/softmax", where)
    for rate in (3e-2, 1e-6):
        study.enqueue_trial({"learning_rate": rate})
    study.optimize(objective(study), n_trials=4)
    assert [attributes.state(trial) for trial in study.get_trials()] == ["complete", "pruned", "duplicate", "duplicate"]
    assert [trial.value for trial in study.get_trials()[:2]] == [trial.value for trial in study.get_trials()[2:]]


def test_a_study_opens_with_the_sampler_and_pruner_of_its_file(ask: Ask, where: str) -> None:
    ask(name="a", sampler="tpe", pruner="median")
    ask(name="b")
    for name, sampler, pruner in (("a", TPESampler, MedianPruner), ("b", RandomPoints, NopPruner)):
        study = open_study(f"{name}/softmax", where)
        assert isinstance(study.sampler, SiblingSampler)
        assert isinstance(study.sampler.inner, sampler)
        assert isinstance(study.pruner, pruner)


def test_the_objective_serves_a_study_that_optuna_opened(ask: Ask, where: str) -> None:
    ask(compare=["softmax"])
    study = optuna.load_study(study_name="q/softmax", storage=f"sqlite:///{where}")
    study.optimize(objective(study), n_trials=1)
    trial = study.get_trials()[0]
    assert trial.value == study.best_value
    assert Config.of(json.loads(trial.system_attrs[attributes.CONFIG])).train.max_iters == 20


def test_what_tunemax_did_not_define_is_refused(ask: Ask, where: str, tmp_path: Path) -> None:
    ask()
    optuna.create_study(study_name="theirs", storage=open_storage(where, create=False))
    with pytest.raises(
        TunemaxError, match="study theirs: not defined by tunemax; make it with tunemax study create FILE"
    ):
        open_study("theirs", where)
    with pytest.raises(TunemaxError, match="study q/softmx: not in this storage; did you mean `q/softmax`"):
        open_study("q/softmx", where)
    with pytest.raises(TunemaxError, match=r"missing\.db: no such database"):
        open_study("q/softmax", tmp_path / "missing.db")


# ---- whole runs ------------------------------------------------------------------------------------------------------


def test_a_run_from_python_comes_to_what_the_command_prints(
    where: str, study_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(confirm={"seeds": 6, "horizons": [1, 2]})
    question = create_study(file, where)
    heard: list[Event] = []

    @contextlib.contextmanager
    def show(shown: Question, progress: Progress, settings: WorkerSettings) -> Iterator[Callable[[Event], None]]:
        assert settings.workers == 1
        names.append(shown.name)
        yield heard.append

    names: list[str] = []
    assert run_study(question.name, where, workers=1, slots=3, show=show) == Ended()
    assert names == ["q", "q.confirmed", "q.confirmed-2x"]
    assert sum(isinstance(event, Finished) for event in heard) == sum(
        load_from(where, name).states().total() for name in names
    )
    assert capsys.readouterr() == ("", "")
    other = str(tmp_path / "other.db")
    assert main(["study", "run", str(file), "--storage", other, "--workers", "1", "--slots", "3"]) == 0
    for name in names:
        ours, typed = load_from(where, name), load_from(other, name)
        for study in ours.siblings:
            assert told(ours.study(study)) == told(typed.study(study))


def test_a_confirmation_from_python_is_that_of_the_study_unless_it_is_told_otherwise(ask: Ask, where: str) -> None:
    ask(budget={"trials": 2}, confirm=6)
    assert run_study("q", where, workers=1, seconds=1e-3).waiting > 0
    assert run_study("q", where, workers=1) == Ended()
    assert confirm_study("q", where, Confirm(seeds=7), workers=1, slots=4) == Ended()
    assert load_from(where, "q.confirmed").states() == {"complete": 14}
    with pytest.raises(TunemaxError, match=r"q\.confirmed: a confirmation itself"):
        confirm_study("q.confirmed", where)


def test_a_storage_that_is_away_between_two_stages_is_waited_for(
    ask: Ask, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(budget={"trials": 2}, repeats=2)
    commit, cut = DefaultDialect.do_commit, list[bool]()

    def trained(*_: object, **__: object) -> bool:
        monkeypatch.setattr(DefaultDialect, "do_commit", fails_every_second_time)
        return True

    def fails_every_second_time(dialect: DefaultDialect, connection: Any) -> None:
        cut.append(not cut or not cut[-1])
        if cut[-1]:
            raise sqlite3.OperationalError("database is locked")
        commit(dialect, connection)

    monkeypatch.setattr("tunemax.search.api.supervisor.run", trained)
    assert run_study("q", where, workers=1, slots=4).waiting == 8
    assert cut.count(True) > 5
