"""The budget as waiting trials: claimed once each, given back whole, never overshot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.ownership import release
from tunemax.search.storage.queue import claim, enqueue

POP = """
import json, sys
from optuna.samplers import RandomSampler
from tunemax.search.storage.queue import claim
from tunemax.search.storage.database import open_storage
storage = open_storage(sys.argv[1], create=False)
taken = []
while trial := claim("q", storage, RandomSampler(seed=len(taken))):
    taken.append(trial.number)
    if len(taken) == 1:
        print("begun", flush=True)
        sys.stdin.readline()
print(json.dumps(taken))
"""

INTERRUPTED = """
import sys
from optuna.samplers import RandomSampler
from tunemax.search.storage.ownership import release
from tunemax.search.storage.queue import claim
from tunemax.search.storage.database import open_storage
storage = open_storage(sys.argv[1], create=False)
trial = claim("q", storage, RandomSampler(seed=5))
print(trial.number, trial.suggest_float("x", 0, 1), trial.suggest_categorical("c", [True, "a"]))
trial.report(2.5, 10)
trial.set_user_attr("seen", 10)
release(storage, trial, None)
"""


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(study_name="q", storage=open_storage(tmp_path / "s.db", create=True))


def take(tmp_path: Path, seed: int = 0) -> optuna.Trial | None:
    """As another process would: through a storage of its own."""
    return claim("q", open_storage(tmp_path / "s.db", create=False), RandomSampler(seed=seed))


@pytest.mark.long
def test_processes_take_every_trial_once(tmp_path: Path, study: optuna.Study) -> None:
    enqueue(study, [{"x": 0.5}], 200)
    words = [sys.executable, "-c", POP, str(tmp_path / "s.db")]
    processes = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:  # they go on side by side, when each has a trial
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    taken = [json.loads(process.communicate()[0]) for process in processes]
    assert sorted(number for numbers in taken for number in numbers) == list(range(200))
    assert {trial.state for trial in study.get_trials(deepcopy=False)} == {TrialState.RUNNING}


def test_known_trials_come_first_then_empty_ones_then_none(tmp_path: Path, study: optuna.Study) -> None:
    enqueue(study, [{"x": 0.25}, {"x": 0.75}], 3)
    enqueue(study, [{"x": 0.5}], 1)
    order = []
    while trial := take(tmp_path):
        order.append((trial.number, trial.suggest_float("x", 0, 1)))
    assert order[:3] == [(0, 0.25), (1, 0.75), (3, 0.5)]
    assert order[3][0] == 2
    assert len(order) == 4
    assert len(study.get_trials()) == 4, "claiming from an empty queue made a trial"


@pytest.mark.parametrize(("known", "count", "expected"), [(0, 3, 3), (2, 3, 3), (5, 3, 3), (2, 0, 0)])
def test_the_count_is_kept_whatever_is_known(study: optuna.Study, known: int, count: int, expected: int) -> None:
    enqueue(study, [{"x": index / 10} for index in range(known)], count)
    assert len(study.get_trials(states=(TrialState.WAITING,))) == expected


def test_interrupted_trial_comes_back_first_with_all_it_had(tmp_path: Path, study: optuna.Study) -> None:
    enqueue(study, [{"c": "a"}], 3)
    first = take(tmp_path)
    assert first is not None
    words = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "s.db")]
    number, x, choice = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    enqueue(study, [{"c": True}], 1)

    again = take(tmp_path, seed=99)
    assert again is not None
    assert again.number == int(number) == 1
    assert again.suggest_float("x", 0, 1) == float(x)
    assert str(again.suggest_categorical("c", [True, "a"])) == choice
    assert again.user_attrs == {"seen": 10}
    with pytest.warns(UserWarning, match="already reported"):
        again.report(9.9, 10)
    again.report(1.5, 20)
    again.study.tell(again, 1.5)
    stored = study.get_trials()[1]
    assert (stored.state, stored.value) == (TrialState.COMPLETE, 1.5)
    assert stored.intermediate_values == {10: 2.5, 20: 1.5}


def test_fixed_parameters_survive_being_given_back(tmp_path: Path, study: optuna.Study) -> None:
    enqueue(study, [{"x": 0.125}], 1)
    for _ in range(2):
        trial = take(tmp_path)
        assert trial is not None
        assert release(trial.storage, trial, None)
    trial = take(tmp_path)
    assert trial is not None
    assert trial.suggest_float("x", 0, 1) == 0.125


def test_finished_trial_is_not_given_back(tmp_path: Path, study: optuna.Study) -> None:
    enqueue(study, [], 1)
    trial = take(tmp_path)
    assert trial is not None
    study.tell(trial.number, 1.0)
    assert not release(trial.storage, trial, None)
    assert study.get_trials()[0].value == 1.0


def test_claimed_trial_sees_what_others_have_finished(tmp_path: Path, study: optuna.Study) -> None:
    enqueue(study, [], 3)
    storage = open_storage(tmp_path / "s.db", create=False)
    first = claim("q", storage, RandomSampler(seed=0))
    assert first is not None
    other = take(tmp_path)
    assert other is not None
    other.suggest_float("x", 0, 1)
    other.study.tell(other, 3.0)
    second = claim("q", storage, RandomSampler(seed=0))
    assert second is not None
    assert [trial.value for trial in second.study.get_trials(states=(TrialState.COMPLETE,))] == [3.0]
    assert first.study.best_value == 3.0


def test_stock_ask_takes_from_the_same_budget(tmp_path: Path, study: optuna.Study) -> None:
    enqueue(study, [], 2)
    assert study.ask().number == 0
    trial = take(tmp_path)
    assert trial is not None
    assert trial.number == 1
    assert take(tmp_path) is None


def test_unknown_study_is_named(tmp_path: Path, study: optuna.Study) -> None:
    with pytest.raises(TunemaxError, match=r"study p: not in this storage; known: q"):
        claim("p", open_storage(tmp_path / "s.db", create=False), RandomSampler())
