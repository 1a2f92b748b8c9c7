"""Studies from Python: run and confirm questions as the command line does, or train their trials under plain Optuna."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import optuna

from tunemax.gpt.data import open_data
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.origin import of_process
from tunemax.gpt.sample import Choice
from tunemax.search.machine.plan import plan
from tunemax.search.machine.processes import WorkerSettings, warm
from tunemax.search.question.judged import FIRST, granted_runs, judged, shortened
from tunemax.search.question.stages import MARGIN, Confirm
from tunemax.search.question.study_file import load_study_file
from tunemax.search.results.judged_pair import What, check_same_text, sides
from tunemax.search.results.judgement import Judgement, judgement
from tunemax.search.results.repeats import lay_out_repeats, repeating
from tunemax.search.results.texts import BOLDNESS, Writer
from tunemax.search.results.trained import find
from tunemax.search.results.winners import confirm as freeze
from tunemax.search.storage import attributes
from tunemax.search.storage.artifacts import make_artifact_folder
from tunemax.search.storage.database import check_writable, open_storage, study_id
from tunemax.search.storage.lookup import storage_of, storage_of_file
from tunemax.search.storage.marks import mark
from tunemax.search.storage.origins import check_alike
from tunemax.search.storage.ownership import adopt, beating
from tunemax.search.storage.paths import default_storage
from tunemax.search.storage.patience import LONG, Patience
from tunemax.search.storage.questions import Question, create, data_of, load, load_from, schema_of
from tunemax.search.storage.sharing import apart, is_offered, offer
from tunemax.search.storage.texts import text_of
from tunemax.search.storage.transit import bring_home
from tunemax.search.storage.trials import database
from tunemax.search.views.dashboard.publish import publishing, try_to_publish
from tunemax.search.views.live.progress import Progress
from tunemax.search.views.live.screen import on_screen
from tunemax.search.workers import supervisor
from tunemax.search.workers.attending import (
    Look,
    attend,
    nobody_trains,
    nothing_to_tell,
    some_wait_or_nobody_trains,
)
from tunemax.search.workers.events import Event
from tunemax.search.workers.trial import train_alone

Show = Callable[[Question, Progress, WorkerSettings], AbstractContextManager[Callable[[Event], None]]]
"""What is shown while workers train: told of every event, after which `Progress` says where the run stands."""
NOBODY = WorkerSettings(workers=0, threads=1, slots=0, compiled=None)
"""Of a run that leaves the training to others."""


@dataclass(frozen=True)
class Ended:
    """How a run has ended."""

    waiting: int = 0
    """Trials that nobody has trained, since the time was spent."""
    elsewhere: int = 0
    """Those that workers of another run train."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. What is finished is kept, and what was trained goes on from its snapshot in the next run."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: interrupted")
        self.name = name
        """Of the question that was worked on: the one that was asked for, a repeat, or a confirmation."""


def create_study(file: str | Path, storage: str | None = None) -> Question:
    """Write a study file's question into a storage, or join the one that is there, without running it.

    storage: a path or an SQLAlchemy URL; by default `tunemax.db` beside the file. Raises TunemaxError, with the line of
    the file that is wrong.
    """
    where = storage or storage_of_file(file)
    definition = load_study_file(file, partial(schema_of, where))
    return create(where, definition, data_of(where, definition))


@contextlib.contextmanager
def silent(question: Question, progress: Progress, settings: WorkerSettings) -> Iterator[Callable[[Event], None]]:
    """Shows nothing."""
    yield progress.take


def run_study(
    name: str,
    storage: str | None = None,
    *,
    workers: int | None = None,
    slots: int | None = None,
    seconds: float | None = None,
    show: Show = silent,
    look: Look = nothing_to_tell,
) -> Ended:
    """Work on a question until nothing waits: its tuning, the repeats of it, then the confirmations that it asks for.

    Several processes do the training, so a script calls this under ``if __name__ == "__main__":``. Winners are
    confirmed only once no trial waits, and none is trained elsewhere.

    Args:
        name: of a question in the storage.
        storage: a path or an SQLAlchemy URL; by default as the command line finds it.
        workers, slots: processes, and members that each trains at once; by default as the study says. With 0 workers
            it waits for those of other machines, publishes what they find, and confirms it.
        seconds: no trial starts later than this; by default as the study says.
        show: what is shown meanwhile.
        look: with 0 workers, how those of other machines are, asked every two seconds.

    Raises TunemaxError for what the user can mend, Interrupted on Ctrl-C and SIGTERM.
    """
    warm()
    question = load_from(storage or storage_of(name), name)
    question.check_plugins()
    check_writable(question.storage)
    seconds = seconds or question.definition.budget.run_seconds
    run = _Run(storage or storage_of(name), workers, slots, seconds, show, look)
    waiting = run.work(name)
    question = run.load(name)
    tuned = [question, *lay_out_repeats(question)]
    waiting += sum(run.work(repeat.name) for repeat in tuned[1:])
    elsewhere = sum(each.states()["running"] for each in tuned)
    stage = question.definition.confirm
    if stage and not waiting and not elsewhere:
        stages = itertools.product(tuned, stage.horizons)
        waiting += sum(run.confirm(each.name, stage, factor) for each, factor in stages)
    return Ended(waiting, elsewhere)


def run(
    file: str | Path, storage: str | None = None, *, show: Show = on_screen, seconds: float | None = None
) -> Question:
    """Create a study file's question, or join it, work on it until nothing waits, and give it back.

    storage: a path or an SQLAlchemy URL; by default `tunemax.db` beside the file. show: by default a line for each
    trial that ends, on a terminal the live picture. seconds: no trial starts later than this. Raises as `create_study`
    and `run_study` do. What it has found: `answer`, `leaderboard`, `trials`, `curves`, `figures`.
    """
    question = create_study(file, storage)
    run_study(question.name, question.storage.url, show=show, seconds=seconds)
    return load(question.storage, question.name)


def confirm_study(
    name: str,
    storage: str | None = None,
    stage: Confirm | None = None,
    *,
    longer: int = 1,
    workers: int | None = None,
    slots: int | None = None,
    seconds: float | None = None,
    show: Show = silent,
    look: Look = nothing_to_tell,
) -> Ended:
    """Train the winners of a question, and of its repeats, anew on fresh seeds, on top of what is confirmed already.

    stage: how; by default as the study says. longer: at so many times the tuned horizon. The rest as in `run_study`.
    """
    warm()
    question = load_from(storage or storage_of(name), name)
    question.check_plugins()
    check_writable(question.storage)
    run = _Run(storage or storage_of(name), workers, slots, seconds, show, look)
    stage = stage or question.definition.confirm or Confirm()
    names = [each.name for each in (question, *repeating(question))]
    return Ended(sum(run.confirm(each, stage, longer) for each in names))


def judge(
    a: What,
    b: What,
    storage: str | None = None,
    *,
    fields: Mapping[str, Any] = MappingProxyType({}),
    seeds: int | None = None,
    runs: int | None = None,
    member_steps: int | None = None,
    margin: float | None = None,
    short: int | None = None,
    short_only: bool = False,
    workers: int | None = None,
    slots: int | None = None,
    seconds: float | None = None,
    show: Show = silent,
    note: Callable[[str], None] = lambda _: None,
) -> Judgement:
    """Whether `b` is better than `a`: both trained on paired seeds until that is known, or the budget is spent.

    First both are trained once for the short horizon, so that what cannot be trained is told soon; of the asked horizon
    that says nothing, and it is no part of the verdict. Then rounds of the sequential test that confirmations use,
    until b is better, worse, or equal within the margin. What was trained is kept: the same call goes on with it.

    Several processes do the training, so a script calls this under ``if __name__ == "__main__":``.

    Args:
        a, b: flat fields with their values, or a word: see `results.judged_pair`. a is what b is compared with.
        storage: a path or an SQLAlchemy URL; by default as the command line finds it.
        fields: flat fields that hold for both; `max_iters` is the horizon.
        seeds: of each side at most; 24 by default. runs: of both together. member_steps: of both together, at the
            horizon. The least of those that are given counts.
        margin: the share of a's loss below which a difference is none; 0.005 by default.
        short: the short horizon; by default an eighth of the horizon. short_only: judge there, of that horizon alone.
        workers, slots, seconds, show: as in `run_study`.
        note: told what should be known of the sides.

    Raises TunemaxError for what the user can mend, among it a budget that is too small for any verdict; Interrupted on
    Ctrl-C and SIGTERM.
    """
    where = storage or default_storage()
    first, second = sides(a, b, fields, storage)
    for sentence in dict.fromkeys((*first.notes, *second.notes)):
        note(sentence)
    asked = first.config.train.max_iters
    beginning = shortened(asked, short)
    horizon = beginning if short_only else asked
    granted = granted_runs(horizon, seeds, runs, member_steps)
    corpus = open_data(first.config.train, first.data or second.data)
    check_same_text(first, second, corpus.manifest.fingerprint)
    text = corpus.manifest.fingerprint
    definition = judged((first.name, first.config), (second.name, second.config), text, beginning)
    warm()
    question = create(where, definition, corpus)
    run = _Run(where, workers, slots, seconds, show)
    if question.states().keys() & {"waiting", "running"}:
        run.work(question.name)
    margin_ = MARGIN if margin is None else margin
    tried = judgement(run.load(question.name), horizon // beginning, margin_)
    tried.check_tried()
    if tried.was_tried:
        stage = Confirm(seeds=FIRST, runs=granted, margin=margin, reference=first.name)
        run.confirm(question.name, stage, horizon // beginning, as_given=True)
    return judgement(run.load(question.name), horizon // beginning, margin_)


class _Run:
    """One run on this machine: several questions, one after the other, within one time."""

    def __init__(
        self,
        where: str,
        workers: int | None,
        slots: int | None,
        seconds: float | None,
        show: Show,
        look: Look = nothing_to_tell,
    ) -> None:
        self._where, self._workers, self._slots, self._show = where, workers, slots, show
        self._attend = partial(attend, look=look)
        self._closes = time.monotonic() + seconds if seconds else None

    def load(self, name: str) -> Question:
        """A question of the storage, which was in reach when the run began, and is waited for now."""
        question = load_from(self._where, name, Patience(LONG))
        question.check_plugins()
        return question

    def confirm(self, name: str, stage: Confirm, factor: int, *, as_given: bool = False) -> int:
        """Create a confirmation, or what it lacks, and work on it, round by round where it has rounds. Returns how many
        of its runs are still to come. as_given: see `winners.confirm`."""
        frozen = freeze(self.load(name), stage, factor, as_given=as_given)
        waiting = self.work(frozen.name)
        while not waiting and freeze(self.load(name), stage, factor, as_given=as_given).states()["waiting"]:
            waiting = self.work(frozen.name)
        if fault := try_to_publish(self._where, name):
            print(f"tunemax: the note and figures of {name} are not up to date; {fault}", file=sys.stderr)
        return waiting

    def work(self, name: str) -> int:
        """Work on a question of the storage. Returns how many trials wait then: none, unless the time is spent."""
        patience = Patience(LONG)
        question = load_from(self._where, name, patience)
        make_artifact_folder(question.storage.url)
        if not is_offered(question) or nobody_trains(list(question.trials().values())):
            offer(question)
        elif line := apart(question):
            print(f"tunemax: {line}", file=sys.stderr)
        progress = Progress.of(question, closes=self._left())
        train: Callable[..., bool] = self._attend
        settings = NOBODY
        if self._workers != 0:
            settings = plan(question.definition, progress.total, self._workers, self._slots, begun=progress.done > 0)
            train = partial(supervisor.run, settings=settings)
        patience.limit = 0.0  # from now on it is what is shown: a look that fails is made again a little later
        with publishing(self._where, name):
            with self._show(question, progress, settings) as report:
                finished = train(self._where, name, seconds=self._left(), report=report)
                while finished and self._goes_on_elsewhere(name):
                    others = partial(self._attend, until=some_wait_or_nobody_trains)
                    finished = all(do(self._where, name, seconds=self._left(), report=report) for do in (others, train))
            try:
                bring_home(question)
            except TunemaxError as error:  # it waits on
                print(f"tunemax: {error}", file=sys.stderr)
            if not finished:
                raise Interrupted(name)
        return self.load(name).states()["waiting"]

    def _left(self) -> float | None:
        """Seconds in which trials may begin; None: without an end."""
        return None if self._closes is None else max(self._closes - time.monotonic(), 1e-3)

    def _goes_on_elsewhere(self, name: str) -> bool:
        """Whether workers of other runs train something of a question, and there is time to wait for them."""
        over = self._closes is not None and time.monotonic() > self._closes
        return not over and not nobody_trains(list(self.load(name).trials().values()))


def generate(
    what: str | Path,
    prompt: str | None = None,
    length: int = 200,
    *,
    count: int = 1,
    temperature: float = BOLDNESS,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    storage: str | None = None,
) -> list[str]:
    """How something that was trained goes on with a text, `count` times, so many tokens each; without the prompt.

    Args:
        what: a run's folder, a checkpoint, a question or a study for its best trial, or `question/candidate#7`.
        prompt: by default the beginning of the validation text.
        temperature, top_k, top_p, min_p, repetition_penalty: how tokens are chosen, see `gpt.sample.Choice`.
        seed: the same writes the same, and a continuation does not depend on how many there are.
        storage: of a trial; by default as the command line finds it.

    Raises TunemaxError where no weights are kept, and for a prompt or a number that cannot be.
    """
    writer = Writer.of(find(str(what), storage), None if prompt is None else os.fsencode(prompt))
    choice = Choice(temperature, top_k, top_p, min_p, repetition_penalty)
    pieces = list(writer.written(length, choice, count, seed))
    return ["".join(parts) for parts in zip(*pieces, strict=True)] if pieces else [""] * count


def open_study(name: str, storage: str | Path | None = None) -> optuna.Study:
    """An Optuna study that tunemax defined, with the sampler and pruner of its definition.

    name: ``question/candidate``, or the question's own name if it has one study. storage: a path or an SQLAlchemy
    URL; by default as the command line finds it. Raises TunemaxError for an unknown study, or one that tunemax did
    not define.
    """
    opened = open_storage(storage or storage_of(name), create=False)
    study_id(opened, name)  # an unknown name gets its nearest
    study = optuna.load_study(study_name=name, storage=opened)
    question = _question(study)
    definition = question.definition
    study.sampler = question.sampler(name, 0)
    study.pruner = definition.pruner.make(definition.budget.steps)
    return study


def objective(study: optuna.Study) -> Callable[[optuna.Trial], float]:
    """What ``study.optimize`` needs to train this study's trials, one at a time, reporting and pruning as a worker
    does.

    ``study.optimize(objective(study), n_trials=10)`` takes waiting trials first, as Optuna does; past the study's
    budget it makes new ones. Raises TunemaxError if the data here is not the study's.
    """
    question = _question(study)
    fixed = question.siblings[study.study_name]
    corpus = text_of(question)
    question.check_plugins()
    check_alike(question, of_process)

    def train(trial: optuna.Trial) -> float:
        adopt(question.storage, trial, mark())
        with beating(question.storage, lambda: [trial]):
            return train_alone(trial, question.definition, fixed, corpus)

    return train


def _question(study: optuna.Study) -> Question:
    name = study.user_attrs.get(attributes.QUESTION)
    if name is None:
        raise TunemaxError(f"study {study.study_name}: not defined by tunemax; make it with tunemax study create FILE")
    question = load(database(study), name)
    if study.study_name not in question.siblings:
        about = (sentence for sentence in question.astray if study.study_name in sentence)
        raise TunemaxError(next(about, f"study {study.study_name}: no study of the question {name}"))
    return question
