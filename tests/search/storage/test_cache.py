"""The cache of trials tells the same as the storage, whatever has happened to them, and whoever did it."""

from __future__ import annotations

import contextlib
import math
import shutil
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from tunemax.search.storage.cache import PendingWrites, TrialCache
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.ownership import finish, release, report, take

MARK = "here:1:1"
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "enqueue",
                "take",
                "give back",
                "report",
                "set",
                "finish",
                "fail",
                "look",
                "look at finished",
                "look at waiting",
            ]
        ),
        st.integers(0, 5),
    ),
    max_size=25,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(deeds=DEEDS)
def test_the_cache_tells_what_the_storage_tells(
    deeds: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> None:
    """Half of the deeds are done behind its back, through another connection."""
    path = shutil.copyfile(empty_database, tmp_path_factory.mktemp("cache") / "s.db")
    cache, other = TrialCache(open_storage(path, create=False)), open_storage(path, create=False)
    study = optuna.create_study(study_name="s", storage=cache)
    for number in range(3):
        study.enqueue_trial({"x": number / 10})
    for turn, (deed, which) in enumerate(deeds):
        storage = (cache, other)[turn % 2]
        trials = other.get_all_trials(study._study_id)
        trial = trials[which % len(trials)]
        if deed == "enqueue":
            optuna.load_study(study_name="s", storage=storage).enqueue_trial({"x": 0.5})
        elif deed == "take":
            take(storage, trial, MARK)
        elif deed == "give back":
            release(storage, trial, MARK)
        elif deed == "report":
            report(storage, MARK, [(trial, which, 1.5)])
        elif deed == "set" and not trial.state.is_finished():
            storage.set_trial_user_attr(trial._trial_id, "seen", turn) if trial.state == TrialState.RUNNING else None
        elif deed == "finish":
            finish(storage, trial, MARK, TrialState.COMPLETE, 0.5, PendingWrites(user={"cost": turn}))
        elif deed == "fail" and trial.state == TrialState.RUNNING:
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        states = {
            "look at finished": (TrialState.COMPLETE, TrialState.FAIL),
            "look at waiting": (TrialState.WAITING,),
        }.get(deed)
        if deed.startswith("look"):
            assert cache.get_all_trials(study._study_id, states=states) == other.get_all_trials(
                study._study_id, states=states
            )
    trials = other.get_all_trials(study._study_id)
    assert cache.get_all_trials(study._study_id) == trials
    assert [cache.get_trial(trial._trial_id) for trial in trials] == trials
    if any(trial.state == TrialState.COMPLETE for trial in trials):
        assert cache.get_best_trial(study._study_id) == other.get_best_trial(study._study_id)
    other.engine.dispose()
    cache._backend.engine.dispose()


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        TrialCache(open_storage(tmp_path / "s.db", create=True)).get_all_trials(7)


def test_a_study_that_takes_the_place_of_a_deleted_one(tmp_path: Path) -> None:
    """SQLite gives the new one, and its trials, the ids of the old ones."""
    cache, other = (
        TrialCache(open_storage(tmp_path / "s.db", create=True)),
        open_storage(tmp_path / "s.db", create=False),
    )
    old = optuna.create_study(study_name="old", storage=cache)
    for _ in range(2):
        old.add_trial(optuna.create_trial(value=0.5))
    assert [trial.value for trial in old.trials] == [0.5, 0.5]
    optuna.delete_study(study_name="old", storage=cache)
    new = optuna.create_study(study_name="new", storage=cache)
    optuna.load_study(study_name="new", storage=other).add_trial(optuna.create_trial(value=1.5))
    assert new._study_id == old._study_id
    assert [trial.value for trial in new.trials] == [1.5]


@pytest.mark.parametrize(("direction", "best"), [("minimize", 1), ("maximize", 3)])
def test_of_equally_good_trials_the_first_is_the_best(tmp_path: Path, direction: str, best: int) -> None:
    storage = TrialCache(open_storage(tmp_path / "s.db", create=True))
    study = optuna.create_study(storage=storage, direction=direction)
    for value in (0.5, -math.inf, -math.inf, math.inf, math.inf):
        study.add_trial(optuna.create_trial(value=value))
    assert study.best_trial.number == best


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    """With two trials, of which the first one runs; its storage is the cache."""
    study = optuna.create_study(study_name="s", storage=TrialCache(open_storage(tmp_path / "s.db", create=True)))
    for number in range(2):
        study.enqueue_trial({"x": number / 10})
    take(study._storage, study.trials[0], MARK)
    return study


def test_one_look_sees_what_others_do_afterwards_and_what_is_written_here_at_once(study: optuna.Study) -> None:
    cache = study._storage
    assert isinstance(cache, TrialCache)
    with cache.one_look():
        first, second = before = study.trials
        report(cache, MARK, [(first, 5, 1.5)])
        take(cache, second, MARK)
        assert study.trials == before
        cache.set_trial_user_attr(second._trial_id, "seen", 1)
        after = study.trials
    assert after[0].intermediate_values == {5: 1.5}
    assert (after[1].state, after[1].user_attrs["seen"]) == (TrialState.RUNNING, 1)
    assert study.trials == after


def test_one_write_is_all_or_nothing(study: optuna.Study) -> None:
    cache = study._storage
    assert isinstance(cache, TrialCache)
    first, second = (trial._trial_id for trial in study.trials)
    finish(cache, study.trials[0], MARK, TrialState.COMPLETE, 1.0)
    with contextlib.ExitStack() as block:
        block.enter_context(pytest.raises(UpdateFinishedTrialError))
        block.enter_context(cache.one_write())
        cache.set_trial_system_attr(second, "given", 1)
        cache.set_trial_user_attr(first, "given", 1)
    with pytest.raises(ZeroDivisionError), cache.one_write():
        cache.set_trial_user_attr(second, "given", 1 / 0)
    assert all("given" not in {**trial.user_attrs, **trial.system_attrs} for trial in study.trials)
    with cache.one_write():
        cache.set_trial_user_attr(second, "given", 1)
        cache.set_trial_user_attr(second, "given", 2)
        assert "given" not in cache.get_trial(second).user_attrs
    assert cache.get_trial(second).user_attrs["given"] == 2


def test_nothing_is_complete_or_known(study: optuna.Study) -> None:
    cache = study._storage
    with pytest.raises(ValueError, match="complete"):
        cache.get_best_trial(study._study_id)
    for unknown in (
        lambda: cache.get_trial(99),
        lambda: cache.set_trial_user_attr(99, "a", 1),
        lambda: cache.get_study_id_from_name("t"),
    ):
        with pytest.raises(KeyError):
            unknown()
