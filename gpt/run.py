"""One training as a user starts it: a folder with its configuration, log, checkpoint and TensorBoard events."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

from tunemax.gpt import checkpoint
from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.data import open_data
from tunemax.gpt.divergence import Stability, divergence_cap
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.evaluation import perplexity
from tunemax.gpt.files import write_whole
from tunemax.gpt.hardware import peak_memory_mb
from tunemax.gpt.locks import Busy, locked_at_once
from tunemax.gpt.loggers import Loggers
from tunemax.gpt.paths import inside, kept, path_typed
from tunemax.gpt.probe import probe
from tunemax.gpt.record import CONFIG, Record, Start, recorded
from tunemax.gpt.trainer import Member, Trainer
from tunemax.gpt.visible import visible

LOG, CHECKPOINT, LOCK = "metrics.jsonl", "checkpoint.safetensors", ".lock"


@dataclass(frozen=True)
class Row:
    """One line of a run's log. Losses in nats a token; NaN where something was not measured."""

    iteration: int
    train_loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_s: float
    peak_memory_mb: float
    validation_loss: float = math.nan
    perplexity: float = math.nan
    bits_per_byte: float = math.nan
    spikes: int = 0
    """Iterations so far whose training loss was above the cap."""

    @classmethod
    def of(
        cls,
        trainer: Trainer,
        member: Member,
        loss: float,
        tokens_per_s: float = math.nan,
        peak_memory_mb: float = math.nan,
    ) -> Self:
        """A member as it is now. loss: on the configuration's validation slice; NaN if it was not evaluated."""
        return cls(
            iteration=member.iteration,
            train_loss=member.train_loss,
            learning_rate=member.learning_rate,
            grad_norm=member.grad_norm,
            tokens_per_s=tokens_per_s,
            peak_memory_mb=peak_memory_mb,
            validation_loss=loss,
            perplexity=perplexity(loss),
            bits_per_byte=loss / math.log(2) / trainer.bytes_per_token(member),
            spikes=member.stability.spikes,
        )

    def to_json(self) -> str:
        """Without what was not measured: NaN is not JSON."""
        return json.dumps({name: value for name, value in asdict(self).items() if math.isfinite(value)})

    def tags(self) -> dict[str, float]:
        """The same under TensorBoard's names."""
        return {
            "loss/train": self.train_loss,
            "loss/validation": self.validation_loss,
            "loss/perplexity": self.perplexity,
            "loss/bits_per_byte": self.bits_per_byte,
            "train/learning_rate": self.learning_rate,
            "train/grad_norm": self.grad_norm,
            "train/spikes": float(self.spikes),
            "speed/tokens_per_s": self.tokens_per_s,
            "memory/peak_mb": self.peak_memory_mb,
        }


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    folder: Path
    iteration: int
    rows: list[Row]
    event: str | None
    stability: Stability = field(default_factory=Stability)


class Controller(Protocol):
    """Who moves controls of a member while a run trains.

    every: iterations between two moves; the first is before iteration 0. name: who it is, for the run's record.
    """

    every: int
    name: str

    def move(self, trainer: Trainer, member: Member) -> Mapping[str, float]:
        """Look at the member, move its controls, and return what they are now, by name."""


def run_folder(config: Config) -> Path:
    """`out_dir`, or a name made of data, variant and identity."""
    if config.log.out_dir:
        return path_typed(config.log.out_dir)
    try:
        return inside(Path("runs"), f"{Path(config.train.dataset).name}-{config.softmax.name}-{config.identity}")
    except TunemaxError as error:
        raise TunemaxError(f"{error}; choose an --out_dir") from None


def train(
    config: Config,
    report: Callable[[Row], None],
    controller: Controller | None = None,
    start: Start | None = None,
) -> Result:
    """Train one member from its first iteration. Raises TunemaxError if its folder already holds a run, or is being
    trained in by another process, or if it cannot begin with the weights that are given.

    controller: moves controls meanwhile; TensorBoard has them as `controls/…`. Such a run cannot be resumed. start: the
    weights to begin with; initial ones where none are given.
    """
    folder = run_folder(config)
    _check_free(folder, controller)
    _check_names(folder, config)
    config.feedback.check_horizon(config.train.max_iters)
    corpus = open_data(config.train)
    trainer = Trainer(config, corpus)
    member = trainer.restore(start.snapshot.begun(config)) if start else trainer.add(config)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _check_free(folder, controller)  # somebody may have begun meanwhile
        try:
            if start:  # before anything says that there is a run, which would begin with other weights
                checkpoint.save(trainer.snapshot(member), folder / CHECKPOINT, corpus.manifest.fingerprint)
            record = Record.of(
                trainer, config, steered=controller.name if controller else "", start=start.name if start else ""
            ).write(folder)
            return _go_on(trainer, member, folder, record, report, controller=controller)
        except KeyboardInterrupt as interrupt:
            nothing = f"nothing was trained yet; {way_on(folder, controller is not None)}"
            raise (interrupt if interrupt.args else KeyboardInterrupt(nothing)) from None


def resume(
    folder: Path,
    changes: Mapping[str, Any],
    report: Callable[[Row], None],
    note: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Result:
    """Go on with an interrupted run, or train a finished one longer (`max_iters` in changes).

    What was logged after the checkpoint is trained again. note: told what is another than before. Raises TunemaxError
    if the folder holds no run, or is being trained in by another process, or for a change that would make it another
    training.
    """
    recorded(folder)
    with _alone(folder):
        return _resume(folder, changes, report, note)


def _resume(
    folder: Path, changes: Mapping[str, Any], report: Callable[[Row], None], note: Callable[[str], None]
) -> Result:
    record = recorded(folder)
    if record.steered:
        raise TunemaxError(
            f"{folder}: steered by {record.steered}, and such a run cannot be resumed; start it again in another "
            "--out_dir"
        )
    config = Config.stored(record.config)
    changed = config.replace(changes)
    changed.check_meant(changes)
    _check_names(folder, changed)
    for name, value in changed.active().items():
        if all_specs()[name].declared.identity and name != "max_iters" and config.active().get(name) != value:
            raise TunemaxError(
                f"{name}: cannot change when a run is resumed (it was {config.flat().get(name)}); start a new run"
            )
    corpus = open_data(config.train, record.data)
    if corpus.manifest.fingerprint != record.data:
        raise TunemaxError(
            f"{folder}: {config.train.dataset} is not the text it was trained on any more; start a new run"
        )
    trainer = Trainer(changed, corpus)
    if (folder / CHECKPOINT).exists():
        saved = checkpoint.load(folder / CHECKPOINT, corpus.manifest.fingerprint)
        member = trainer.restore(replace(saved, config=changed, values=changed.held()))
    elif record.start:
        raise TunemaxError(f"{folder}: began with weights of {record.start}, and {CHECKPOINT} is gone; begin it anew")
    else:
        member = trainer.add(changed)
    logged = _forget_after(folder / LOG, member.iteration)
    if logged >= changed.train.max_iters:
        raise TunemaxError(f"{folder}: finished at iteration {member.iteration}; ask for more with --max_iters")
    if record.path and record.path != trainer.arithmetic:
        goes_on = f"goes on as {trainer.arithmetic}, which is equal to rounding only"
        note(f"{folder}: trained so far as {record.path}; {goes_on}")
    old, new = config.train.max_iters, changed.train.max_iters
    if new != old and config.train.schedule != "constant":
        stretched = f"its schedule ({config.train.schedule}) is that of {new:,} iterations from here on"
        note(f"max_iters = {new} instead of {old}: {stretched}, so the learning rate jumps")
    record = Record.of(trainer, changed, start=record.start).write(folder)
    return _go_on(trainer, member, folder, record, report, logged)


def _check_free(folder: Path, controller: Controller | None) -> None:
    """Raise TunemaxError if a new run cannot begin in a folder."""
    if not (folder / CONFIG).exists():
        return
    with _alone(folder):
        go_on = "" if controller else f"continue it with --resume {folder}, or "
        raise TunemaxError(f"{folder}: holds a run already; {go_on}choose another --out_dir")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else trains in a folder meanwhile. Raises TunemaxError if somebody does."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_at_once(folder / LOCK))
        except Busy:
            remedy = "wait for it, or choose another --out_dir"
            raise TunemaxError(f"{folder}: another process trains here; {remedy}") from None
        yield


def _go_on(
    trainer: Trainer,
    member: Member,
    folder: Path,
    record: Record,
    report: Callable[[Row], None],
    logged: int | None = None,
    controller: Controller | None = None,
) -> Result:
    """Train to the horizon; log, evaluate and checkpoint on the way. logged: where the log of a resumed run ends."""
    train, log = member.config.train, member.config.log
    tokens = train.batch_size * member.config.model.block_size
    rows: list[Row] = []
    with _Journal(trainer, member, folder, resumed=logged is not None, steered=bool(record.steered)) as journal:
        if logged is not None and logged < member.iteration and _due(member):  # interrupted before it was logged
            rows.append(journal.write(math.nan))
            report(rows[-1])
        while member.iteration < train.max_iters and member.event is None:
            if controller and member.iteration % controller.every == 0:
                journal.steer(controller.move(trainer, member))
            stops = (log.log_interval, train.eval_interval, *([controller.every] if controller else []))
            n = min(every - member.iteration % every for every in stops)
            n = min(n, train.max_iters - member.iteration)
            start = time.perf_counter()
            trainer.step(n)
            if _due(member) or member.event is not None:  # else it has stopped for its controller only
                rows.append(journal.write(n * tokens / (time.perf_counter() - start)))
                report(rows[-1])
            if trainer.arithmetic != record.path:  # the compiler has failed at an iteration or evaluation, and said so
                record = record.write(folder, path=trainer.arithmetic)
        if member.event:
            record.write(folder, diverged=member.event.reason)
        journal.end()
    return Result(folder, member.iteration, rows, member.event.reason if member.event else None, member.stability)


def way_on(folder: Path, steered: bool) -> str:
    """How an interrupted run goes on, once its folder holds it."""
    resume = shlex.join(["tunemax", "train", "--resume", str(folder)])
    return "a steered run starts again, in another --out_dir" if steered else f"continue with {resume}"


def _due(member: Member) -> bool:
    """Whether a line of the log belongs to this iteration."""
    return member.iteration % member.config.log.log_interval == 0 or _evaluation_due(member)


def _evaluation_due(member: Member) -> bool:
    return member.evaluation_due or member.event is not None


class _Journal:
    """What a run leaves in its folder: lines of the log, events, checkpoints; an interrupt leaves one more of these."""

    def __init__(self, trainer: Trainer, member: Member, folder: Path, resumed: bool, steered: bool = False) -> None:
        self._trainer, self._member, self._folder, self._steered = trainer, member, folder, steered
        self._stack = ExitStack()
        self._log = self._stack.enter_context(open(folder / LOG, "a", buffering=1))  # noqa: SIM115 - closed with the stack
        resumed_at = member.iteration + 1 if resumed else None  # what was logged beyond the checkpoint comes again
        place = events_folder(folder, member.config)
        self._loggers = Loggers(lambda kind: kind.open(place, member.config, resumed_at=resumed_at))
        self._stack.callback(self._loggers.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is not None and issubclass(kind, KeyboardInterrupt):
                if self._member.event is None:
                    self._save()
                again = way_on(self._folder, self._steered)
                raise KeyboardInterrupt(f"saved at iteration {self._member.iteration}; {again}") from None

    def write(self, tokens_per_s: float) -> Row:
        """Measure and log this iteration; with an evaluation goes a checkpoint, unless the member has diverged."""
        evaluate = _evaluation_due(self._member)
        loss = math.nan
        if evaluate:
            loss = self._trainer.evaluate()[self._member]
            self._member.look(loss, divergence_cap(self._member.config, self._trainer.corpus))
        row = Row.of(self._trainer, self._member, loss, tokens_per_s, peak_memory_mb(self._trainer.device))
        self._log.write(row.to_json() + "\n")
        if self._loggers:
            measured = probe(self._trainer)[self._member] if evaluate else None
            self._loggers.log(row.tags(), row.iteration, measured)
        if evaluate and not self._member.event:
            self._save()
        return row

    def steer(self, controls: Mapping[str, float]) -> None:
        """Show where the controls are from this iteration on."""
        self._loggers.log({f"controls/{name}": value for name, value in controls.items()}, self._member.iteration)

    def end(self) -> None:
        """Say where it is shown that the run is over."""
        self._loggers.close(completed=self._member.event is None)

    def _save(self) -> None:
        self._log.flush()
        os.fsync(self._log.fileno())  # a checkpoint must not outlive the lines before it, in a power cut either
        fingerprint = self._trainer.corpus.manifest.fingerprint
        snapshot = self._trainer.snapshot(self._member)
        checkpoint.save(snapshot, self._folder / CHECKPOINT, fingerprint)
        every = self._member.config.log.keep_every
        if every and snapshot.iteration % every == 0:
            checkpoint.save(snapshot.weights, kept(self._folder, snapshot.iteration), fingerprint)


def events_folder(folder: Path, config: Config) -> Path:
    """Where the event file goes: the run's own folder, unless a project or a name was asked for."""
    log = config.log
    if not (log.tensorboard_project or log.tensorboard_run_name):
        return folder
    place = folder.parent
    for name in ("tensorboard_project", "tensorboard_run_name"):
        try:
            place = inside(place, given) if (given := getattr(log, name)) else place
        except TunemaxError as error:
            raise TunemaxError(f"--{name} = {error}; give one that lies beside the run") from None
    return place if log.tensorboard_run_name else place / folder.name


def _check_names(folder: Path, config: Config) -> None:
    """Refuse, before anything is written, what a run's files could not be called, or could not say of themselves."""
    events_folder(folder, config)
    for name, value in config.flat().items():
        if isinstance(value, str) and value.encode(errors="ignore").decode() != value:
            raise TunemaxError(
                f"{name} = {visible(value)}: not UTF-8, in which a run is recorded; give it another name"
            )


def _forget_after(log: Path, iteration: int) -> int:
    """Drop log rows that a resumed run will write again, and a line that was cut short. Returns where the rest ends."""
    kept, end = [], 0
    for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
        try:
            at = int(json.loads(line)["iteration"])
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
            break
        if at <= iteration:
            kept.append(line)
            end = at
    write_whole(log, "".join(line + "\n" for line in kept).encode())
    return end
