"""Optuna's cache of trials, at a lower price.

Optuna's own reads every unfinished trial in full whenever anybody asks for trials. Here a study's whole budget lies in it as
waiting trials, and a pruner asks at every report. So one small query finds out what has happened, and only that is read.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Container, Iterator
from datetime import datetime
from typing import Any

from optuna._typing import JSONSerializable
from optuna.distributions import BaseDistribution
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb.models import TrialModel, TrialSystemAttributeModel, TrialUserAttributeModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select
from sqlalchemy.orm import Session

Sight = tuple[TrialState, datetime | None]
"""A trial's state, and when it was last taken."""
MOST = 500
"""Trials in one query: databases have limits."""
UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)


class TrialCache(_CachedStorage):
    """Trials as Optuna's cache gives them, read in full only when they are asked for and may have changed.

    A finished trial is read once. A running one is read whenever it is asked for, since it changes with every report; a waiting
    one only if it was taken in between, which its start time shows.
    """

    def __init__(self, backend: Any) -> None:
        super().__init__(backend)
        self._seen: dict[int, dict[int, Sight]] = {}
        """Study → trial → how it was when it was last looked at."""
        self._read: dict[int, Sight] = {}
        """Trial → how it was when it was last read in full."""
        self._held: list[Callable[[Session], None]] | None = None
        """Writes that wait for the end of `one_write`."""

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The trials in these states, by number. Raises KeyError for an unknown study."""
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            wanted = {trial for trial, (state, _) in self._look(study_id).items() if states is None or state in states}
            stale = {trial for trial in wanted if self._read.get(trial) != self._seen[study_id][trial]}
            stale |= {trial for trial in wanted if self._seen[study_id][trial][0] == TrialState.RUNNING}
            if stale:
                self._add_trials_to_cache(study_id, self._backend._get_trials(study_id, None, stale, sys.maxsize))
                self._read |= {trial: self._seen[study_id][trial] for trial in stale}
            numbers = (self._trial_id_to_study_id_and_number.get(trial) for trial in wanted)
            found = [study.trials[number] for _, number in sorted(place for place in numbers if place)]
            found = [trial for trial in found if states is None or trial.state in states]  # it may have changed since the look
            return copy.deepcopy(found) if deepcopy else found

    def _look(self, study_id: int) -> dict[int, Sight]:
        """State and start of every trial. Of finished ones it is known already; all others are looked at anew."""
        seen = self._seen.setdefault(study_id, {})
        changed = TrialModel.state.in_(UNFINISHED) | (TrialModel.trial_id > max(seen, default=-1))
        wanted = select(TrialModel.trial_id, TrialModel.state, TrialModel._datetime_start_utc).where(TrialModel.study_id == study_id)
        with Session(self._backend.engine) as session:
            rows = {trial: (state, start) for trial, state, start in session.execute(wanted.where(changed))}
            finished = [trial for trial, (state, _) in seen.items() if state in UNFINISHED and trial not in rows]
            for some in (finished[index : index + MOST] for index in range(0, len(finished), MOST)):
                rows |= {trial: (state, start) for trial, state, start in session.execute(wanted.where(TrialModel.trial_id.in_(some)))}
        if not seen and not rows:
            self._backend.get_study_name_from_id(study_id)  # raises for a study that is not there
        seen |= rows
        return seen

    @contextlib.contextmanager
    def one_write(self) -> Iterator[None]:
        """Hold back parameters and attributes that trials are given in this block, and write them at its end in one transaction.

        Raises ValueError there if a parameter has another distribution than the study has under that name. After an error in
        the block nothing is written.
        """
        held = self._held = []
        try:
            yield
        finally:
            self._held = None
        with Session(self._backend.engine) as session, session.begin():
            for write in held:
                write(session)

    def set_trial_param(self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution) -> None:
        before = self._distributions(trial_id).get(param_name)
        if self._held is None or before is None:  # the first one has to look whether others differ
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        write = self._backend._set_trial_param_without_commit
        self._held.append(lambda session: write(session, trial_id, param_name, param_value_internal, distribution, before))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._attribute(TrialUserAttributeModel, super().set_trial_user_attr, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: JSONSerializable) -> None:
        self._attribute(TrialSystemAttributeModel, super().set_trial_system_attr, trial_id, key, value)

    def _attribute(self, model: Any, at_once: Callable[[int, str, Any], None], trial_id: int, key: str, value: Any) -> None:
        if self._held is None:
            at_once(trial_id, key, value)
            return
        write = self._backend._set_trial_attr_without_commit
        self._held.append(lambda session: write(session, model, trial_id, key, value))

    def _distributions(self, trial_id: int) -> dict[str, BaseDistribution]:
        return self._studies[self._trial_id_to_study_id_and_number[trial_id][0]].param_distribution
