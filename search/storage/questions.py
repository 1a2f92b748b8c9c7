"""A question in a storage: its sibling studies, created, joined, extended and read back.

The storage is all there is to it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url

from tunemax.gpt.config import all_specs
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.defaults import SCHEMA
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.evaluation import chosen_itself
from tunemax.gpt.fields import Value
from tunemax.search.question.changes import joined
from tunemax.search.question.counting import counted
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import extremes
from tunemax.search.question.suggest import known_points
from tunemax.search.question.work import lengths
from tunemax.search.storage import attributes
from tunemax.search.storage.cache import TrialCache
from tunemax.search.storage.commands import typed
from tunemax.search.storage.database import open_storage, storage_errors, storage_url, study_names
from tunemax.search.storage.patience import Patience
from tunemax.search.storage.queue import enqueue
from tunemax.search.storage.sampling import SiblingSampler

METRIC = "validation_loss"


@dataclass(frozen=True)
class Question:
    """An open question.

    siblings: study name → the flat values that this study fixes. A question without `per` has one study, of its own
    name.
    """

    storage: RDBStorage
    definition: StudyDefinition
    siblings: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def variant_is_dimension(self) -> bool:
        return "softmax_variant" in self.definition.space

    @cached_property
    def cached(self) -> TrialCache:
        """The storage behind a cache of trials: one for everything that is read here."""
        return TrialCache(self.storage)

    def fixing(self, **fields: Value) -> Question:
        """The same question with more values that all its trials have here."""
        return replace(self, siblings={name: {**fixed, **fields} for name, fixed in self.siblings.items()})

    def trials(self) -> dict[str, list[FrozenTrial]]:
        """Every trial of every sibling, by study name."""
        with storage_errors(self.storage.url):
            return {name: self.study(name).get_trials(deepcopy=False) for name in self.siblings}

    def begun(self, name: str) -> int:
        """How many trials of a sibling somebody has taken, those included that were given back with parameters."""
        trials = self.study(name).get_trials(deepcopy=False)
        return sum(trial.state != TrialState.WAITING or bool(trial.params) for trial in trials)

    def sampler(self, name: str, worker: int) -> BaseSampler:
        """The sampler of one worker for a sibling. Raises TunemaxError if a package is missing."""
        inner = self.definition.make_sampler(name, worker, self.begun(name))
        return SiblingSampler(inner, self.definition, self.siblings[name])

    def states(self) -> Counter[str]:
        """How many trials of all siblings are in which state: see `attributes.state`."""
        return Counter(attributes.state(trial) for trials in self.trials().values() for trial in trials)

    def study(self, name: str) -> optuna.Study:
        """A sibling as Optuna's own object; its sampler and pruner are Optuna's defaults."""
        return optuna.load_study(study_name=name, storage=self.cached)

    def check_data(self, corpus: Corpus) -> None:
        """Refuse to mix two texts in one question."""
        here, expected = corpus.manifest.fingerprint, str(self.definition.fingerprint)
        if here != expected:
            raise TunemaxError(
                f"{self.name}: data {self.definition.data} has fingerprint {here[:12]} here, the study was made with "
                f"{expected[:12]}; give the study the same text, or start a new one under another name"
            )


def data_of(where: str | Path, definition: StudyDefinition) -> Corpus:
    """The text that a question is created with, or joined: what is there keeps the split of its time."""
    there = load_from(where, definition.name).definition if holds(where, definition.name) else definition
    return open_data(definition.data, there.fingerprint)


def create(where: str | Path, definition: StudyDefinition, corpus: Corpus) -> Question:
    """Create a question in the storage at a path or URL; if it is there, add new candidates and trials to it.

    A smaller budget is no change: a study file need not follow each `study extend`. Raises TunemaxError if the
    definition contradicts the one in the storage, with the difference, if the text is shorter than a context, or the
    budget below one iteration.
    """
    corpus.check_context(_longest_context(definition))
    if chosen_itself(definition.base):
        corpus.check_evaluation("tuning", int(definition.base["eval_tokens"]))
    if definition.budget.flops is not None:
        lengths(definition, corpus.manifest.vocab_size)  # whether one iteration is within it depends on the text
    storage = open_storage(where, create=True)
    with alone(storage):
        definition = definition.with_fingerprint(corpus.manifest.fingerprint)
        if definition.name in questions(storage):
            definition = joined(load(storage, definition.name).definition, definition)
        return lay_out(storage, definition)


def extend(question: Question, trials: int) -> Question:
    """Give every candidate this many trials more. Raises TunemaxError for a grid, which is complete."""
    with alone(question.storage):
        definition = load(question.storage, question.name).definition
        if definition.confirms:
            amount, of = definition.confirms.amount, definition.confirms.question
            more = typed(question.storage.url, "study", "confirm", of, f"--{amount}", "N")
            raise TunemaxError(f"{question.name}: a confirmation; give it more {amount} with {more}")
        if definition.repeat:
            of = definition.repeat.question
            raise TunemaxError(f"{question.name}: a repeat of {of}; extend {of}, and its repeats follow when it is run")
        if definition.sampler.is_grid:
            raise TunemaxError(f"{question.name}: a grid trains each of its points once; it cannot be extended")
        return lay_out(question.storage, definition.with_trials(definition.budget.trials + trials))


def load(storage: RDBStorage, name: str) -> Question:
    """Open a question by its name. Raises TunemaxError for an unknown one."""
    known = questions(storage)
    of = next((question for question, studies in known.items() if name in studies and name != question), None)
    if of:
        raise TunemaxError(f"{name}: one of the {len(known[of])} studies of the question {of}; name that")
    if name not in known and name in study_names(storage):
        if attributes.SCENE in optuna.load_study(study_name=name, storage=storage).user_attrs:
            raise TunemaxError(f"{name}: trainings of agents, not a question; see them with tunemax dashboard")
        remedy = "create one from a study file with tunemax study create FILE"
        raise TunemaxError(f"{name}: a study that tunemax did not define; {remedy}")
    if name not in known:
        near = did_you_mean(name, known) if known else "; it is empty"
        raise TunemaxError(f"{name}: no such question in this storage{near}")
    definition = StudyDefinition.from_json(list(known[name].values())[-1][attributes.DEFINITION])
    siblings = {study: fixed for study, fixed in definition.siblings().items() if study in known[name]}
    return Question(storage, definition, siblings)


def questions(storage: RDBStorage) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Question → study name → its attributes, for every study that tunemax defined."""
    by_question: dict[str, dict[str, Mapping[str, Any]]] = {}
    with storage_errors(storage.url):
        studies = storage.get_all_studies()
    for study in studies:
        if attributes.QUESTION in study.user_attrs:
            by_question.setdefault(study.user_attrs[attributes.QUESTION], {})[study.study_name] = study.user_attrs
    return by_question


def holds(where: str | Path, name: str) -> bool:
    """Whether a storage has a question of this name; one that is not there yet has none."""
    url = storage_url(where)
    is_file = url.get_backend_name() == "sqlite"
    if is_file and not Path(str(url.database)).exists():
        return False
    return name in questions(open_storage(where, create=not is_file))


def schema_of(where: str | Path, name: str) -> int:
    """By which a question's study file is read: as it was begun if the storage has it, else today's."""
    return load_from(where, name).definition.schema_version if holds(where, name) else SCHEMA


def load_from(where: str | Path, name: str, patience: Patience | None = None) -> Question:
    """Open the storage at a path or URL, and the question in it. patience: of whoever works on it."""
    return load(open_storage(where, create=False, patience=patience), name)


def lay_out(storage: RDBStorage, definition: StudyDefinition) -> Question:
    """Bring the storage's studies to a definition: missing siblings are created, missing trials enqueued. Only inside
    `alone`.

    Cut short, it leaves the last sibling under its old definition, which is the one that `load` reads; done again, it
    completes what is there.
    """
    siblings = definition.siblings()
    existing = set(optuna.get_all_study_names(storage))
    for name, fixed in siblings.items():
        study = _sibling(storage, name, name in existing)
        study.set_user_attr(attributes.DEFINITION, definition.to_json())
        study.set_user_attr(attributes.QUESTION, definition.name)
        there = len(study.get_trials(deepcopy=False))
        enqueue(study, known_points(definition, fixed), max(0, definition.trials_of(name) - there))
    return Question(storage, definition, siblings)


def _longest_context(definition: StudyDefinition) -> int:
    """The largest block_size that a trial can have."""
    spec = all_specs()["block_size"]
    if dimension := definition.space.get("block_size"):
        return max(map(int, extremes(spec, dimension)))
    return max(int(fixed.get("block_size", spec.default)) for fixed in definition.siblings().values())


def _sibling(storage: RDBStorage, name: str, exists: bool) -> optuna.Study:
    """The study of this name.

    An empty one that was created with the stock tools is taken over, any other one of theirs refused.
    """
    if not exists:
        optuna.create_study(study_name=name, storage=storage, direction="minimize")
    study = optuna.load_study(study_name=name, storage=storage)
    if study.directions != [StudyDirection.MINIMIZE]:
        directions = ", ".join(direction.name.lower() for direction in study.directions)
        remedy = "a tunemax study minimises one loss; use another name"
        raise TunemaxError(f"study {name}: exists with direction {directions}; {remedy}")
    if attributes.QUESTION not in study.user_attrs and (trials := study.get_trials(deepcopy=False)):
        about = f"exists with {counted(len(trials), 'trial')} that tunemax did not define"
        raise TunemaxError(f"study {name}: {about}; use another name")
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([METRIC])
    return study


@contextlib.contextmanager
def alone(storage: RDBStorage) -> Iterator[None]:
    """One creator at a time on a SQLite file, so that two that start together do not both fill the budget."""
    url = make_url(storage.url)
    is_file = url.get_backend_name() == "sqlite"
    with filelock.FileLock(f"{url.database}.lock") if is_file else contextlib.nullcontext(), storage_errors(url):
        yield
