"""Optuna's cache of trials, at a lower price.

Optuna's own reads every unfinished trial in full whenever anybody asks for trials. Here a study's whole budget lies in it as
waiting trials, and a pruner asks at every report. So one small query finds out what has happened, and only that is read.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Container
from datetime import datetime
from typing import Any

from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb.models import TrialModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select
from sqlalchemy.orm import Session

UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)


class TrialCache(_CachedStorage):
    """Trials as Optuna's cache gives them.

    A finished trial is read once. A running one is read when it is asked for, since it changes with every report; a waiting one
    only if it was taken in between, which its start time shows.
    """

    def __init__(self, backend: Any) -> None:
        super().__init__(backend)
        self._started: dict[int, datetime | None] = {}
        """When trials were taken last, as far as is known."""

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The trials in these states, by number. Raises KeyError for an unknown study."""
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            self._refresh(study_id, study, running=states is None or TrialState.RUNNING in states)
            found = [trial for _, trial in sorted(study.trials.items()) if states is None or trial.state in states]
            return copy.deepcopy(found) if deepcopy else found

    def _refresh(self, study_id: int, study: _StudyInfo, *, running: bool) -> None:
        """Read what has changed. running: the running trials, too, which may have."""
        newest = max((self._study_id_and_number_to_trial_id[study_id, number] for number in study.trials), default=-1)
        changed = TrialModel.state.in_(UNFINISHED) | (TrialModel.trial_id > newest)
        wanted = select(TrialModel.trial_id, TrialModel.state, TrialModel._datetime_start_utc).where(
            TrialModel.study_id == study_id, changed
        )
        with Session(self._backend.engine) as session:
            rows = {trial_id: (state, start) for trial_id, state, start in session.execute(wanted)}
        stale = study.unfinished_trial_ids - rows.keys()  # they have finished
        for trial_id, (state, start) in rows.items():
            known = self._known(trial_id)
            if known is None or known.state != state or start != self._started.get(trial_id) or (running and state == TrialState.RUNNING):
                stale.add(trial_id)
        if stale:
            self._add_trials_to_cache(study_id, self._backend._get_trials(study_id, None, stale, sys.maxsize))
            self._started |= {trial_id: start for trial_id, (_, start) in rows.items()}
        elif not study.trials:
            self._backend.get_study_name_from_id(study_id)  # raises for a study that is not there

    def _add_trials_to_cache(self, study_id: int, trials: list[FrozenTrial]) -> None:
        super()._add_trials_to_cache(study_id, trials)
        unfinished = self._studies[study_id].unfinished_trial_ids
        for trial in trials:
            (unfinished.discard if trial.state.is_finished() else unfinished.add)(trial._trial_id)

    def _known(self, trial_id: int) -> FrozenTrial | None:
        place = self._trial_id_to_study_id_and_number.get(trial_id)
        return self._studies[place[0]].trials.get(place[1]) if place else None
