"""What a trial leaves to look at, uploaded while it runs: its configuration, its curve, a text that it has written.

Optuna takes artifacts of running trials only, so this is a worker's watcher. None of them is HTML, which a dashboard
would run.
"""

from __future__ import annotations

import contextlib
import io
import json
import mimetypes
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from optuna.artifacts import ArtifactMeta
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.exceptions import UpdateFinishedTrialError

from tunemax.envs.canvas import COLOURS, Line, draw
from tunemax.gpt.files import Guard
from tunemax.gpt.sample import Choice, generate
from tunemax.gpt.trainer import Member
from tunemax.search.storage.artifacts import KEY, ArtifactStore, artifact_folder, uploaded
from tunemax.search.storage.transit import RowStore
from tunemax.search.storage.trials import frozen, set_system_attr
from tunemax.search.workers.trial import Job, leads

CONFIG, PLUGINS, CURVE, SAMPLE = "config.json", "plugins.json", "curve.png", "sample.txt"
PROMPT, TOKENS, TEMPERATURE = 32, 64, 0.8
"""Of a sample: tokens of the tuning slice that it goes on from, tokens that are drawn, and how boldly."""


@dataclass
class Seen:
    """What is known of a trial that is watched: names of artifacts that it has, and losses at iterations.

    The storage has no training losses; those from before an interrupt are not known any more.
    """

    there: set[str]
    validation: dict[int, float]
    training: dict[int, float] = field(default_factory=dict)


class Artifacts:
    """Watches a worker's trials: uploads CONFIG when one starts, with PLUGINS if there are any that it needs, and CURVE
    when it ends, and SAMPLE if it is the best.

    A trial that is returned gets the rest when it ends for good. A full disk must not cost a result: what cannot be
    written is left out, which is told once.

    Args:
        storage_url: of the trials' storage; see `artifact_folder`.
        note: told in one line what a user should know.
        store: where to put them; by default into that folder.
    """

    def __init__(
        self, storage_url: str, note: Callable[[str], None], store: ArtifactStore | RowStore | None = None
    ) -> None:
        self._folder = artifact_folder(storage_url)
        self._store = store or ArtifactStore(self._folder)
        self._guard = Guard(note, "trials go on without theirs")
        self._seen: dict[Member, Seen] = {}

    def started(self, job: Job) -> None:
        before = frozen(job.trial)
        losses = {job.course.iteration(step): loss for step, loss in before.intermediate_values.items()}
        seen = Seen({meta.filename for meta in uploaded(before.system_attrs)}, losses)
        self._seen[job.member] = seen
        config = job.member.config
        self._upload(job, seen, CONFIG, lambda: json.dumps(config.flat(), indent=1).encode())
        if used := [record.model_dump(mode="json") for record in config.plugins]:
            self._upload(job, seen, PLUGINS, lambda: json.dumps(used, indent=1).encode())

    def evaluated(self, job: Job) -> None:
        seen = self._seen[job.member]
        seen.validation[job.member.iteration] = job.value
        seen.training[job.member.iteration] = job.member.train_loss

    def ending(self, job: Job, end: str) -> None:
        seen = self._seen.pop(job.member, None)
        if seen is None or end in ("returned", "dropped"):
            return
        self._upload(job, seen, CURVE, lambda: curve(job, end, seen))
        if end == "complete" and leads(job):
            self._upload(job, seen, SAMPLE, lambda: sample(job).encode())

    def _upload(self, job: Job, seen: Seen, name: str, content: Callable[[], bytes]) -> None:
        """Upload a file, unless the trial has it from before an interrupt."""
        if name in seen.there:
            return
        # somebody else may just have finished it, as the worker is about to find out
        with contextlib.suppress(UpdateFinishedTrialError), self._guard(f"{self._folder}: no artifact can be written"):
            self._write(job, name, content())

    def _write(self, job: Job, name: str, content: bytes) -> None:
        """Write the file, then the record of it.

        Optuna's `upload_artifact` does it the other way round: a full disk leaves dead links.
        """
        meta = ArtifactMeta(str(uuid.uuid4()), name, mimetypes.guess_type(name)[0] or "application/octet-stream", None)
        try:
            self._store.write(meta.artifact_id, io.BytesIO(content))
            set_system_attr(job.trial, KEY + meta.artifact_id, json.dumps(asdict(meta)))
        except BaseException:
            with contextlib.suppress(OSError, ArtifactNotFound):
                self._store.remove(meta.artifact_id)
            raise


def curve(job: Job, end: str, seen: Seen) -> bytes:
    """The losses of a trial that ends, as PNG."""
    params = job.trial.params.items()
    shown = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in params)
    lines = []
    for name, losses, colour in (("validation", seen.validation, COLOURS[0]), ("training", seen.training, COLOURS[4])):
        points = sorted(losses.items())
        if points:
            lines.append(Line(f"{name} {points[-1][1]:.4f}", points, colour))
    title = f"{job.study}, trial {job.number}: {end} at iteration {job.member.iteration:,}"
    return draw(title, ", ".join(shown), "iteration; loss in nats a token", lines)


def sample(job: Job) -> str:
    """How a member goes on from the beginning of the tuning slice. The same weights write the same."""
    corpus = job.trainer.corpus
    prompt = corpus.slices["tuning"][:PROMPT]
    (written,) = generate(job.trainer, job.member, prompt, TOKENS, Choice(TEMPERATURE))
    given, continued = (_printable(corpus.decode(tokens)) for tokens in (prompt, written))
    trial = f"{job.study}, trial {job.number}, iteration {job.member.iteration}"
    head = f"{trial}, temperature {TEMPERATURE:g}"
    return f"{head}\n\n---- given (validation text)\n{given}\n\n---- written\n{continued}\n"


def _printable(text: str) -> str:
    """An untrained member writes any byte."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "·" for letter in text)
