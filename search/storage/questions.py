"""A question in a storage: its sibling studies, created, joined, extended and read back.

The storage is all there is to it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt import plugins
from tunemax.gpt.config import all_specs
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.defaults import SCHEMA
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.evaluation import chosen_itself
from tunemax.gpt.fields import Value
from tunemax.gpt.paths import Misnamed
from tunemax.gpt.visible import visible
from tunemax.search.question.budget import GRID_LIMIT
from tunemax.search.question.changes import joined
from tunemax.search.question.counting import counted
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import extremes
from tunemax.search.question.work import lengths
from tunemax.search.storage import attributes, study_tables
from tunemax.search.storage.cache import TrialCache
from tunemax.search.storage.commands import typed
from tunemax.search.storage.damage import Damaged, check
from tunemax.search.storage.database import (
    check_writable,
    in_transaction,
    open_storage,
    patiently,
    study_id,
    study_names,
)
from tunemax.search.storage.layout import write_question
from tunemax.search.storage.locks import locked
from tunemax.search.storage.parcels import publish
from tunemax.search.storage.paths import TAKEN, check_names
from tunemax.search.storage.patience import Patience
from tunemax.search.storage.plugins import recorded
from tunemax.search.storage.sampling import SiblingSampler
from tunemax.search.storage.siblings import Attributes, Siblings, told_apart
from tunemax.search.storage.trials import trained
from tunemax.search.storage.urls import storage_errors, storage_url


@dataclass(frozen=True)
class Question:
    """An open question.

    siblings: study name → the flat values that this study fixes. A question without `per` has one study, of its own
    name. astray: sentences on studies of it, of its repeats and its confirmations that are missing, renamed, copied, or
    cannot be read. plugins: that it was made with.
    """

    storage: RDBStorage
    definition: StudyDefinition
    siblings: Mapping[str, Mapping[str, Any]]
    astray: tuple[str, ...] = ()
    plugins: tuple[plugins.PluginRecord, ...] = ()

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def variant_is_dimension(self) -> bool:
        return "softmax_variant" in self.definition.space and not self.definition.compared

    @cached_property
    def cached(self) -> TrialCache:
        """The storage behind a cache of trials: one for everything that is read here."""
        return TrialCache(self.storage)

    def fixing(self, **fields: Value) -> Question:
        """The same question with more values that all its trials have here."""
        return replace(self, siblings={name: {**fixed, **fields} for name, fixed in self.siblings.items()})

    def trials(self) -> dict[str, list[FrozenTrial]]:
        """Every trial of every sibling, by study name. Raises TunemaxError if one cannot be read."""
        with storage_errors(self.storage.url):
            return {name: trials_of(self.cached, name) for name in self.siblings}

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

    def check_plugins(self) -> None:
        """Refuse to train with other code than it was made with."""
        plugins.check(self.plugins, self.name)


def trials_of(storage: BaseStorage, study: str) -> list[FrozenTrial]:
    """The trials of a study, of which results are made. Raises TunemaxError if one cannot be read."""
    cached = storage if isinstance(storage, TrialCache) else TrialCache(storage)
    try:
        return [check(trial) for trial in cached.get_all_trials(study_id(cached, study), deepcopy=False)]
    except Damaged as error:
        raise Damaged(f"{study}: {error}") from error


def data_of(where: str | Path, definition: StudyDefinition) -> Corpus:
    """The text that a question is created with, or joined: what is there keeps the split of its time."""
    there = load_from(where, definition.name).definition if holds(where, definition.name) else definition
    return open_data(definition.text, there.fingerprint)


def create(where: str | Path, definition: StudyDefinition, corpus: Corpus) -> Question:
    """Create a question in the storage at a path or URL; if it is there, add new candidates and trials to it.

    A smaller budget is no change: a study file need not follow each `study extend`. Raises TunemaxError if the
    definition contradicts the one in the storage, with the difference, if the text is shorter than a context, or the
    budget below one iteration.
    """
    if definition.name in TAKEN and not holds(where, definition.name):
        folder = f"{definition.name}/ lies beside the questions' own folders among the runs"
        raise TunemaxError(f"{definition.name}: cannot name a question, since {folder}; choose another `name:`")
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
        question = lay_out(storage, definition)
    publish(storage, corpus)
    return question


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
        there = definition.budget.trials
        if there + trials > GRID_LIMIT:
            more = f"--trials = {trials}: {counted(there, 'trial')} of each candidate and so many more"
            room = f"give it at most {GRID_LIMIT - there:,} more" if there < GRID_LIMIT else "it has them all"
            raise TunemaxError(f"{question.name}: {more} are above the limit of {GRID_LIMIT:,}; {room}")
        return lay_out(question.storage, definition.with_trials(there + trials))


def load(storage: RDBStorage, name: str) -> Question:
    """Open a question by its name, also as it is printed, where that has characters that nobody can type.

    Raises TunemaxError for an unknown one, for one that cannot be read, and for one from somebody else's database whose
    names would put files elsewhere than into the folder of runs: those can only be deleted.
    """
    known = questions(storage)
    name = as_written(name, known)
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
    question = _opened(storage, name, known[name])
    return replace(question, astray=(*question.astray, *_astray(storage, known, f"{name}.")))


def as_written(name: str, known: Iterable[str]) -> str:
    """The one of some names that is printed so; the name itself if there is none."""
    return name if name in known else next((other for other in known if visible(other) == name), name)


def openable(storage: RDBStorage, prefix: str = "") -> list[Question]:
    """The questions whose names begin so; those that cannot be read are left out."""
    opened = []
    for name, studies in questions(storage).items():
        if name.startswith(prefix):
            with contextlib.suppress(TunemaxError):
                opened.append(_opened(storage, name, studies))
    return opened


def definition_of(name: str, studies: Mapping[str, Attributes]) -> StudyDefinition:
    """The definition that a question's studies have: that of the last one, which is an older one if tunemax of before
    was cut short. A copy has that of its time. Raises TunemaxError if none can be read."""
    known: dict[str, StudyDefinition] = {}
    fault: TunemaxError | None = None
    for text in dict.fromkeys(str(given.get(attributes.DEFINITION)) for given in studies.values()):
        try:
            definition = StudyDefinition.from_json(text)
            if definition.name != name:
                raise TunemaxError(f"it is that of {definition.name}")
            known[text] = definition
        except TunemaxError as error:
            fault = error
    if not known:
        raise TunemaxError(f"{name}: its definition cannot be read: {fault}") from fault
    texts = {study: str(given.get(attributes.DEFINITION)) for study, given in studies.items()}
    readable = [(study, known[text]) for study, text in texts.items() if text in known]
    ours = [
        definition
        for study, definition in readable
        if study in definition.siblings() and studies[study].get(attributes.SIBLING, study) == study
    ]
    return (ours or [definition for _, definition in readable])[-1]


def belongings(storage: RDBStorage, name: str, studies: Mapping[str, Attributes]) -> Siblings:
    """The studies of a question, told apart; of one that cannot be read by what they say of themselves."""
    try:
        return told_apart(definition_of(name, studies).siblings(), studies, partial(trained, storage))
    except TunemaxError:
        given = {study: on.get(attributes.SIBLING, study) for study, on in studies.items()}
        siblings: dict[str, dict[str, Value]] = {
            sibling: {} for sibling in given.values() if sibling == name or sibling.startswith(f"{name}/")
        }
        return told_apart(siblings, studies, lambda _: None)


def _opened(storage: RDBStorage, name: str, studies: Mapping[str, Attributes]) -> Question:
    """Raises TunemaxError if the definition cannot be read, if no study has the name of a sibling, or if a name leads
    out of the folder of runs."""
    needed = recorded(studies.values())
    strange = [f"{name}: {reason}" for reason in (*plugins.missing(needed), *plugins.changed(needed))]
    try:
        definition = definition_of(name, studies)
    except TunemaxError as error:
        raise (TunemaxError(strange[0]) if strange else error) from error
    try:
        check_names(storage.url, name, definition.siblings())
    except Misnamed as error:
        remedy = typed(storage.url, "study", "delete", name)
        raise TunemaxError(f"{name}: {error}; tunemax gives no such name; remove the question with {remedy}") from error
    siblings = told_apart(definition.siblings(), studies, partial(trained, storage))
    sentences = siblings.sentences(definition, str(storage.url))
    if not siblings.present:
        raise TunemaxError(f"{name}: none of its studies has its name. {'; '.join(sentences)}")
    return Question(storage, definition, siblings.present, (*sentences, *strange), needed)


def _astray(storage: RDBStorage, known: Mapping[str, Mapping[str, Attributes]], prefix: str) -> list[str]:
    """What is to be said of the studies of questions whose names begin so, or of such a question as a whole."""
    sentences: list[str] = []
    for name in known:
        if name.startswith(prefix):
            try:
                sentences += _opened(storage, name, known[name]).astray
            except TunemaxError as error:
                remove = typed(storage.url, "study", "delete", name, "--yes")
                sentences.append(f"{error}. It is left out; delete it with {remove}")
    return sentences


def questions(storage: RDBStorage) -> dict[str, dict[str, Attributes]]:
    """Question → study name → its attributes, for every study that tunemax defined, oldest first."""
    by_question: dict[str, dict[str, Attributes]] = {}
    with storage_errors(storage.url):
        defined = in_transaction(storage, study_tables.having, attributes.QUESTION)
    for study, given in defined.items():
        ours = {key: value for key, value in given.items() if isinstance(value, str)}
        if attributes.QUESTION in ours:
            by_question.setdefault(ours[attributes.QUESTION], {})[study] = ours
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
    """Bring the storage's studies to a definition, all of them or none: see `layout`. Only inside `alone`.

    Raises TunemaxError, and writes nothing, where a limit or another study is in the way, a plug-in is another than it
    was, or a sibling has been renamed: its trials would be trained again.
    """
    there = questions(storage).get(definition.name, {})
    plugins.check(recorded(there.values()), definition.name)
    siblings = told_apart(definition.siblings(), there, partial(trained, storage))
    if siblings.renamed:
        raise TunemaxError(siblings.sentences(definition, str(storage.url))[0])
    write_question(storage, definition)
    return load(storage, definition.name)


def _longest_context(definition: StudyDefinition) -> int:
    """The largest block_size that a trial can have."""
    spec = all_specs()["block_size"]
    if dimension := definition.space.get("block_size"):
        return max(map(int, extremes(spec, dimension)))
    return max(int(fixed.get("block_size", spec.default)) for fixed in definition.siblings().values())


@contextlib.contextmanager
def alone(storage: RDBStorage) -> Iterator[None]:
    """One creator at a time, so that two that start together do not both fill the budget. What goes wrong in the
    storage becomes a TunemaxError, as does one that can only be read."""
    check_writable(storage)
    with contextlib.ExitStack() as lock:
        with storage_errors(storage.url, OSError):
            patiently(storage, lambda: lock.enter_context(locked(storage.engine)))
        with storage_errors(storage.url):
            yield
