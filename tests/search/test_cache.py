"""The cache of trials tells the same as the storage, whatever has happened to them, and whoever did it."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from search.cache import TrialCache
from search.ownership import finish, release, report, take
from search.storage import open_storage

MARK = "here:1:1"
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["enqueue", "take", "give back", "report", "set", "finish", "fail", "look", "look at finished", "look at waiting"]),
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
            take(storage, trial._trial_id, MARK)
        elif deed == "give back":
            release(storage, trial._trial_id, MARK)
        elif deed == "report":
            report(storage, MARK, {trial._trial_id: (which, 1.5)})
        elif deed == "set" and not trial.state.is_finished():
            storage.set_trial_user_attr(trial._trial_id, "seen", turn) if trial.state == TrialState.RUNNING else None
        elif deed == "finish":
            finish(storage, trial._trial_id, MARK, TrialState.COMPLETE, 0.5, user={"cost": turn})
        elif deed == "fail" and trial.state == TrialState.RUNNING:
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        states = {"look at finished": (TrialState.COMPLETE, TrialState.FAIL), "look at waiting": (TrialState.WAITING,)}.get(deed)
        if deed.startswith("look"):
            assert cache.get_all_trials(study._study_id, states=states) == other.get_all_trials(study._study_id, states=states)
    assert cache.get_all_trials(study._study_id) == other.get_all_trials(study._study_id)
    other.engine.dispose()
    cache._backend.engine.dispose()


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        TrialCache(open_storage(tmp_path / "s.db", create=True)).get_all_trials(7)
