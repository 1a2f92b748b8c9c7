"""Trainings that train nothing: a worker as it is, whose model alone is replaced, so that its storage is all that it
waits for."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import mock

import sqlalchemy
import torch
from sqlalchemy.engine import make_url

from tunemax.gpt.data import Corpus, open_data
from tunemax.gpt.files import write_whole
from tunemax.gpt.probe import Probe, Probes
from tunemax.gpt.random import key
from tunemax.gpt.trainer import Member, Trainer
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.study_file import define

REPORTS = 10
"""Of each trial."""
_BASE = {
    "n_layer": 1,
    "n_head": 1,
    "n_embd": 8,
    "block_size": 8,
    "batch_size": 1,
    "eval_interval": 1,
    "eval_tokens": 64,
    "device": "cpu",
}
_SPACE = dict.fromkeys(("learning_rate", "weight_decay", "beta1", "beta2", "grad_clip", "min_lr_ratio"), "default")


@contextlib.contextmanager
def corpus() -> Iterator[Corpus]:
    """A text of a few words."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        write_whole(path, b"a stack of members trains in lockstep " * 2000)
        yield open_data(str(path))


def definition(text: Corpus, trials: int, *, sampler: str = "random", pruner: str = "none") -> StudyDefinition:
    """A question of one study, six parameters and ten reports a trial."""
    return define(
        {
            "question": "What does the storage cost?",
            "data": text.manifest.source,
            "base": _BASE,
            "space": _SPACE,
            "sampler": sampler,
            "pruner": pruner,
            "budget": {"trials": trials, "horizon": REPORTS},
        },
        name="q",
    )


@contextlib.contextmanager
def training(seconds: float = 0.0) -> Iterator[None]:
    """Within this block a trial takes so many seconds, and its loss is a function of its configuration and its age."""

    def step(self: Trainer, n: int = 1) -> None:
        time.sleep(seconds * n / REPORTS)
        for member in self.members:
            member.iteration += n

    def evaluate(
        self: Trainer, part: str | None = None, members: Iterable[Member] | None = None
    ) -> dict[Member, float]:
        return {member: _loss(member) for member in members or self.members}

    nothing = torch.zeros(1, 1)
    probe = Probe(nothing, nothing, nothing, nothing)
    with contextlib.ExitStack() as stack:
        for owner, name, stub in (
            (Trainer, "step", step),
            (Trainer, "evaluate", evaluate),
            (Probes, "of", lambda *_: probe),
        ):
            stack.enter_context(mock.patch.object(owner, name, stub))
        yield


def _loss(member: Member) -> float:
    luck = key(member.config.train.seed, "stub", member.config.identity) / 2**63
    return 1 + luck + 1 / (1 + member.iteration)


@contextlib.contextmanager
def fresh_database(server: str | None) -> Iterator[str]:
    """The URL, or the path, of a new storage; server: the URL of a database on one, by default it is a SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        if server is None:
            yield str(Path(folder) / "studies.db")
            return
        url = make_url(server)
        name = f"tunemax_{Path(folder).name.lower()}"
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        with mock.patch.dict("os.environ", TUNEMAX_RUNS=folder):
            try:
                with engine.connect() as connection:
                    connection.exec_driver_sql(f"CREATE DATABASE {name}")
                yield url.set(database=name).render_as_string(hide_password=False)
                with engine.connect() as connection:
                    force = " WITH (FORCE)" if url.get_backend_name() == "postgresql" else ""
                    connection.exec_driver_sql(f"DROP DATABASE {name}{force}")
            finally:
                engine.dispose()
