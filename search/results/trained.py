"""What a user names that was trained: the folder of a run, a checkpoint, or a trial that has kept its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from tunemax.gpt import checkpoint
from tunemax.gpt.config import PLACES, Config
from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.paths import path_typed
from tunemax.gpt.record import CONFIG, recorded
from tunemax.gpt.run import CHECKPOINT
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer
from tunemax.search.question.counting import counted
from tunemax.search.storage import attributes
from tunemax.search.storage.commands import typed
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.lookup import storage_of
from tunemax.search.storage.paths import WEIGHTS, databases, trial_file, trial_folder
from tunemax.search.storage.questions import Question, load, questions, trials_of

KEPT = "weights are kept of each candidate's best trial and of confirmed runs"


@dataclass(frozen=True)
class Tried:
    """A trial that was trained, of a study of this name."""

    storage: RDBStorage
    study: str
    trial: FrozenTrial

    @cached_property
    def question(self) -> Question | None:
        """That of its study; None if tunemax has not asked it."""
        owner = next((question for question, studies in questions(self.storage).items() if self.study in studies), None)
        return load(self.storage, owner) if owner else None


@dataclass(frozen=True)
class Trained:
    """Something that was trained. name: as people read it, and may type it."""

    name: str
    fields: Mapping[str, Any]
    """Its configuration, flat, with no place for files: that chooses whoever trains it again."""
    where: Callable[[], Path]
    """The file of its weights. Raises TunemaxError if there is none, or none that should be used."""
    folder: Path | None = None
    """What its training has logged lies there, if it has logged anything."""
    trial: Tried | None = None
    """None of what no study has trained."""

    @property
    def kept(self) -> bool:
        """Whether its weights are here."""
        try:
            return self.where().is_file()
        except TunemaxError:
            return False

    def snapshot(self) -> tuple[Snapshot, Corpus]:
        """Its weights, and the text that it was trained on. Raises TunemaxError if they are not there."""
        path = self.where()
        heading = checkpoint.heading(path)
        corpus = open_data(Config.stored(heading.config).train, heading.data)
        return checkpoint.load(path, corpus.manifest.fingerprint), corpus

    def member(self, text: Corpus | None = None) -> tuple[Trainer, Member]:
        """It, ready to read and write: in fp32, on whatever this machine has.

        text: to read; by default what it was trained on. Raises TunemaxError for one of other tokens.
        """
        snapshot, own = self.snapshot()
        corpus = text or own
        if corpus.manifest.codec != own.manifest.codec:
            other = f"its tokens are not those of {own.manifest.name}, which {self.name} knows"
            raise TunemaxError(f"{corpus.manifest.name}: {other}; take a text of the same tokenizer")
        here = snapshot.config.replace({"compile": False, "precision": "fp32", "device": "auto"})
        trainer = Trainer(here, corpus)
        return trainer, trainer.restore(replace(snapshot.begun(here), values=snapshot.values))


def find(word: str, where: str | None = None, number: int | None = None) -> Trained:
    """What a word names: a run's folder, a checkpoint, `question/candidate#number`, or without a number the best trial.

    where: the storage of a trial; by default as the command line finds it. number: of the trial, in place of one in the
    word. Raises TunemaxError if there is none.
    """
    path = path_typed(word)
    if path.is_file():
        logged = path.parent if path.name in (CHECKPOINT, WEIGHTS) else None
        return Trained(word, _elsewhere(checkpoint.heading(path).config), lambda: path, logged)
    if (path / CONFIG).is_file():
        return Trained(word, _elsewhere(recorded(path).config), lambda: _of_run(path), path)
    if (path / WEIGHTS).is_file():
        return find(str(path / WEIGHTS))
    study, found = numbered(word)
    if where is None and not databases():
        raise TunemaxError(f"{word}: no folder of a run, no checkpoint, and there is no database of studies here")
    if None not in (found, number):
        raise TunemaxError(f"--trial {number}: {word} names one already; leave out one of them")
    return _of_study(where or storage_of(study), study, number if found is None else found)


def every(word: str, where: str | None = None) -> list[Trained]:
    """The same, but a candidate of a confirmation stands for all its runs that have a result and weights here, in the
    order of their seeds: `question.confirmed/candidate`."""
    study, number = numbered(word)
    named = path_typed(word).exists() or number is not None or (where is None and not databases())
    storage = None if named else open_storage(place := where or storage_of(study), create=False)
    known = questions(storage) if storage else {}
    owner = next((question for question, studies in known.items() if study in studies), None)
    if storage is None or owner is None or not load(storage, owner).definition.confirms:
        return [find(word, where)]
    ended = [trial for trial in trials_of(storage, study) if attributes.state(trial) == "complete"]
    runs = [find(study, place, trial.number) for trial in ended]
    there = [run for run in runs if run.kept]
    return sorted(there or runs[:1] or [find(word, where)], key=lambda run: int(run.fields["seed"]))


def numbered(word: str) -> tuple[str, int | None]:
    """The name of a study, and the number of its trial if one stands behind it: `question/candidate#7`."""
    study, mark, number = word.rpartition("#")
    if not mark:
        return word, None
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise TunemaxError(f"{word}: expected the number of a trial behind the #, as in {study or 'question'}#7")
    return study, int(number)


def _of_run(folder: Path) -> Path:
    record, path = recorded(folder), folder / CHECKPOINT
    if record.diverged:
        before = f"; name {path} for its weights of before" if path.is_file() else ""
        raise TunemaxError(f"{folder}: {record.diverged}{before}")
    if not path.is_file():
        raise TunemaxError(f"{folder}: has no {CHECKPOINT} yet, which comes with the first evaluation; train it on")
    return path


def _of_study(where: str, study: str, number: int | None) -> Trained:
    storage = open_storage(where, create=False)
    owner, trial = _chosen(storage, where, study, number)
    name = f"{owner}#{trial.number}"
    if attributes.CONFIG not in trial.system_attrs:
        ended = trial.state.name.lower()
        raise TunemaxError(f"{name}: {ended}, its configuration is not recorded; take another trial")

    original = trial.user_attrs.get(attributes.DUPLICATE_OF, trial.number)

    def of_trial() -> Path:
        if reason := trial.user_attrs.get(attributes.DIVERGED):
            raise TunemaxError(f"{name}: {reason}; take another trial")
        if not trial.state.is_finished():
            raise TunemaxError(f"{name}: {attributes.state(trial)}; {KEPT} once they have ended")
        path = trial_file(str(storage.url), owner, original, WEIGHTS)
        if path.is_file():
            return path
        again = typed(where, "train", "--from", name)
        raise TunemaxError(f"{name}: has no weights here; {KEPT}, where they were trained. Train it again with {again}")

    folder, tried = trial_folder(str(storage.url), owner, original), Tried(storage, owner, trial)
    return Trained(name, _elsewhere(attributes.configuration(trial)), of_trial, folder, tried)


def _chosen(storage: RDBStorage, where: str, study: str, number: int | None) -> tuple[str, FrozenTrial]:
    """A study's best trial, or that of all studies of a question, or the one with a number; with its study."""
    known = questions(storage)
    names = list(load(storage, study).siblings) if study in known else [study]
    owner = next((question for question, studies in known.items() if names[0] in studies), None)
    confirms = load(storage, owner).definition.confirms if owner else None
    if confirms and number is None:
        lucky = "a confirmation has no best trial, only lucky seeds"
        run = f"name a run, as in {names[0]}#0, or what it confirms: {confirms.question}"
        raise TunemaxError(f"{study}: {lucky}; {run}")
    trials = [(name, trial) for name in names for trial in trials_of(storage, name)]
    if number is not None:
        if len(names) > 1:
            raise TunemaxError(f"{study}#{number}: {study} has {counted(len(names), 'study')}; name one: {names[0]}")
        found = next(((name, trial) for name, trial in trials if trial.number == number), None)
        if found is None:
            raise TunemaxError(f"{study}#{number}: {study} has {counted(len(trials), 'trial')}, numbered from 0")
        return found
    complete = [(name, trial) for name, trial in trials if attributes.ranks(trial)]
    if not complete:
        again = typed(where, "study", "run", study.partition("/")[0])
        raise TunemaxError(f"{study}: no trial is complete yet; run it with {again}")
    return min(complete, key=lambda each: (each[1].value, each[1].number))


def _elsewhere(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, **dict.fromkeys(PLACES, "")}
