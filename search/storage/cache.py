"""Optuna's cache of trials, at a lower price.

Optuna's own reads every unfinished trial in full whenever anybody asks for trials. Here a study's whole budget lies in
it as waiting trials, and a pruner asks at every report. So one small query finds out what has happened, and only that
is read.
"""

from __future__ import annotations

import contextlib
import copy
from collections import defaultdict
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna._typing import JSONSerializable
from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from tunemax.search.storage import tables
from tunemax.search.storage.database import in_transaction


@dataclass
class PendingWrites:
    """What a trial is given and is yet to be written."""

    params: tables.Params = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)

    def write(self, connection: Connection, trial_id: int) -> None:
        """The caller holds the trial's lock."""
        tables.write_params(connection, trial_id, self.params)
        tables.write_attributes(connection, tables.USER, trial_id, self.user)
        tables.write_attributes(connection, tables.SYSTEM, trial_id, self.system)


def _write(connection: Connection, pending: Mapping[int, PendingWrites]) -> None:
    """Give trials what is held back for them."""
    for trial_id, given in pending.items():
        state = tables.locked_state(connection, trial_id)
        if state is None:
            raise KeyError(trial_id)
        if state.is_finished():
            # Optuna's own check looks the trial up, through another connection: this one has the lock
            raise UpdateFinishedTrialError(f"trial {trial_id} is finished: it cannot be given anything")
        given.write(connection, trial_id)


class TrialCache(_CachedStorage):
    """Trials as Optuna's cache gives them, read in full only when they are asked for and may have changed.

    A finished trial is read once. A running one is read whenever it is asked for, since it changes with every report; a
    waiting one only if it was taken in between, which its start time shows.
    """

    def __init__(self, backend: Any) -> None:
        super().__init__(backend)
        self._seen: dict[int, dict[int, tables.Sight]] = {}
        """Study → trial → how it was when it was last looked at."""
        self._read: dict[int, tables.Sight] = {}
        """Trial → how it was when it was last read in full."""
        self._fresh: set[tuple[int, int | None]] | None = None
        """Within `one_look`: studies that were looked at in it, and their running trials that were read in it."""
        self._pending: defaultdict[int, PendingWrites] | None = None
        """Within `holding`, by trial."""

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial as it is now. Raises KeyError for an unknown one."""
        with self._lock:
            if (trial := self._get_cached_trial(trial_id)) is not None:
                return trial
        trials = self._in_full([trial_id])
        if not trials:
            return self._backend.get_trial(trial_id)  # which raises
        with self._lock:
            if trials[0].state.is_finished() and (place := self._trial_id_to_study_id_and_number.get(trial_id)):
                self._add_trials_to_cache(place[0], trials)
        return trials[0]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials in these states, by number. Raises KeyError for an unknown study."""
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            seen = self._look(study_id)
            wanted = {trial for trial, (state, _) in seen.items() if states is None or state in states}
            stale = {trial for trial in wanted if self._read.get(trial) != seen[trial]}
            running = {trial for trial in wanted if seen[trial][0] == TrialState.RUNNING}
            stale |= {trial for trial in running if not self._is_fresh(study_id, trial)}
            if stale:
                self._add_trials_to_cache(study_id, self._in_full(stale))
                self._read |= {trial: seen[trial] for trial in stale}
            numbers = (self._trial_id_to_study_id_and_number.get(trial) for trial in wanted)
            trials = [study.trials[number] for _, number in sorted(place for place in numbers if place)]
            # It may have changed since the look
            trials = [trial for trial in trials if states is None or trial.state in states]
            return copy.deepcopy(trials) if deepcopy else trials

    def get_study_id_from_name(self, study_name: str) -> int:
        """Raises KeyError for an unknown study."""
        study_id = in_transaction(self._backend, tables.study, study_name)
        if study_id is None:
            raise KeyError(study_name)
        return study_id

    def delete_study(self, study_id: int) -> None:
        """Raises KeyError for an unknown study. SQLite gives the ids of what is deleted away again."""
        super().delete_study(study_id)
        for trial in self._seen.pop(study_id, {}):
            self._read.pop(trial, None)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The first complete trial with the best value.

        Raises ValueError if none is complete, RuntimeError if there are several objectives.
        """
        directions = self.get_study_directions(study_id)
        if len(directions) > 1:
            raise RuntimeError("of several objectives, no single trial is the best")
        best = in_transaction(self._backend, tables.best, study_id, directions[0])
        if best is None:
            raise ValueError("no trial is complete")
        return self.get_trial(best)

    def _look(self, study_id: int) -> dict[int, tables.Sight]:
        """State and start of every trial. Of finished ones it is known already; all others are looked at anew."""
        seen = self._seen.setdefault(study_id, {})
        if self._is_fresh(study_id):
            return seen
        changed = in_transaction(self._backend, tables.look, study_id, seen)
        if not seen and not changed:
            self._backend.get_study_name_from_id(study_id)  # raises for a study that is not there
        seen |= changed
        return seen

    def _in_full(self, trial_ids: Collection[int]) -> list[FrozenTrial]:
        return in_transaction(self._backend, tables.read, trial_ids)  # one: all tables as they are at one moment

    def _is_fresh(self, study_id: int, trial_id: int | None = None) -> bool:
        """Whether a study, or a running trial of it, has been looked at in this `one_look`; from now on it has."""
        if self._fresh is None:
            return False
        known = (study_id, trial_id) in self._fresh
        self._fresh.add((study_id, trial_id))
        return known

    @contextlib.contextmanager
    def one_look(self) -> Iterator[None]:
        """Look at each study once in this block, however often its trials are asked for.

        What others do meanwhile, or `ownership`, is seen after it. What is written through this cache is followed by
        another look.
        """
        self._fresh = set()
        try:
            yield
        finally:
            self._fresh = None

    @contextlib.contextmanager
    def holding(self, trial: optuna.Trial) -> Iterator[PendingWrites]:
        """Hold back what a trial is given in this block, parameters and attributes; whoever holds it writes it."""
        with self._holding() as pending:
            yield pending[trial._trial_id]

    @contextlib.contextmanager
    def one_write(self) -> Iterator[Mapping[int, PendingWrites]]:
        """Hold back what trials are given in this block, and write it all at its end, in one transaction.

        After an error in the block nothing is written. Raises UpdateFinishedTrialError at its end if a trial has
        finished.
        """
        with self._holding() as pending:
            yield pending
        in_transaction(self._backend, _write, pending)
        self._forget()

    @contextlib.contextmanager
    def _holding(self) -> Iterator[Mapping[int, PendingWrites]]:
        pending = self._pending = defaultdict(PendingWrites)
        try:
            yield pending
        finally:
            self._pending = None

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Raises ValueError if the study has another distribution under that name."""
        before = self._studies[self._trial_id_to_study_id_and_number[trial_id][0]].param_distribution.get(param_name)
        if self._pending is None or before is None:  # the first one has to look whether others differ
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            self._forget()
            return
        check_distribution_compatibility(before, distribution)
        self._pending[trial_id].params[param_name] = (param_value_internal, distribution_to_json(distribution))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._giving() as pending:
            pending[trial_id].user[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: JSONSerializable) -> None:
        with self._giving() as pending:
            pending[trial_id].system[key] = value

    def _giving(self) -> contextlib.AbstractContextManager[Mapping[int, PendingWrites]]:
        """Where to put what a trial is given: beside what is held back already, or it is written at once."""
        return self.one_write() if self._pending is None else contextlib.nullcontext(self._pending)

    def _forget(self) -> None:
        """Something was written: the next who asks is to see it."""
        if self._fresh is not None:
            self._fresh.clear()
