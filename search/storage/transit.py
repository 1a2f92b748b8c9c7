"""How the files of a question's trials come to other machines: in the folder of runs that all share, or through rows of
the database, where one of them does not share it.

Nobody has to say so. A process whose folder of runs is not that of whoever runs the question leaves a word in the
database, and from then on everybody's snapshots go there, too. What it makes itself, weights and artifacts, waits there
until a process that has the folder brings it home.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import time
from collections.abc import Iterable
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.gpt.paths import KEPT, inside
from tunemax.search.storage import rows
from tunemax.search.storage.attributes import ranks
from tunemax.search.storage.database import is_read_only
from tunemax.search.storage.paths import ARTIFACTS, SNAPSHOT, WEIGHTS, runs_folder, trial_folders
from tunemax.search.storage.questions import Question
from tunemax.search.storage.sharing import is_home, shares

APART = ".apart"
"""The word that a process leaves in the folder of the question."""
LOOK = 30.0
"""Seconds between two looks for it."""


class Transit:
    """What one process of a question sends to others, and finds of them."""

    def __init__(self, question: Question) -> None:
        """Looks whether the folder of runs is shared, and leaves word if it is not."""
        self._question, self._storage = question, question.storage
        self.apart = not shares(question) and not is_read_only(question.storage)
        self._looked, self._asked = time.monotonic(), self.apart
        if self.apart:
            rows.put(self._storage, f"{question.name}/{APART}", b"")
        else:
            self._asked = self._look()

    @property
    def wanted(self) -> bool:
        """Whether somebody of this question cannot read what lies in this process's folder."""
        if not self._asked and time.monotonic() - self._looked > LOOK:
            self._looked, self._asked = time.monotonic(), self._look()
        return self._asked

    def put(self, name: str, content: bytes) -> None:
        """Send a file. Raises TunemaxError if the database does not take it."""
        rows.put(self._storage, name, content)

    def get(self, name: str) -> bytes | None:
        """What has come of a name; None if nothing has. Raises TunemaxError if it is damaged."""
        return rows.get(self._storage, name)

    def remove(self, names: Iterable[str]) -> None:
        rows.remove(self._storage, list(names))

    def _look(self) -> bool:
        with contextlib.suppress(TunemaxError):
            return rows.get(self._storage, f"{self._question.name}/{APART}") is not None
        return False


class RowStore:
    """Optuna's store of artifacts, of a process whose folder nobody else sees: they wait among the rows."""

    def __init__(self, question: str, transit: Transit) -> None:
        self._question, self._transit = question, transit

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Raises ArtifactNotFound if it is not there, or is brought home already."""
        content = self._transit.get(artifact_row(self._question, artifact_id))
        if content is None:
            raise ArtifactNotFound(artifact_id)
        return io.BytesIO(content)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._transit.put(artifact_row(self._question, artifact_id), content_body.read())

    def remove(self, artifact_id: str) -> None:
        self._transit.remove([artifact_row(self._question, artifact_id)])


def row_of(study: str, number: int, name: str) -> str:
    """The name of a trial's file among the rows: as in the folder of runs."""
    return f"{study}/{number:05}/{name}"


def artifact_row(question: str, artifact: str) -> str:
    return f"{question}/{ARTIFACTS}/{artifact}"


def bring_home(question: Question) -> int:
    """Write the weights and artifacts that wait among the rows into the folder of runs, if it is the question's.

    Returns how many there were. Raises TunemaxError if they cannot be written; what is left waits on.
    """
    if is_read_only(question.storage) or not rows.any_there(question.storage) or not is_home(question):
        return 0
    folder, weights, brought = runs_folder(question.storage.url), set[str](), 0
    for name in rows.sizes(question.storage, question.name):
        place = _place(question, name)
        if place is None or (content := rows.get(question.storage, name)) is None:
            continue
        try:
            write_whole(inside(folder, place), content)
        except OSError as error:
            raise TunemaxError(f"{folder}: {place} cannot be written there ({error.strerror})") from error
        rows.remove(question.storage, [name])
        brought += 1
        if place.endswith(f"/{WEIGHTS}"):
            weights.add(place.rpartition("/")[0].rpartition("/")[0])
    if not question.definition.confirms:
        _forget_overtaken(question, weights)
    return brought


def left_over(question: Question) -> dict[str, int]:
    """Name and bytes of the snapshots among the rows of trials that have ended, or are not in the storage."""
    unfinished = {
        row_of(study, trial.number, SNAPSHOT)
        for study, trials in question.trials().items()
        for trial in trials
        if not trial.state.is_finished()
    }
    found = rows.sizes(question.storage, question.name)
    return {name: size for name, size in found.items() if name.endswith(f"/{SNAPSHOT}") and name not in unfinished}


def _place(question: Question, name: str) -> str | None:
    """Where a row belongs in the folder of runs; None if it stays a row."""
    if name.startswith(f"{question.name}/{ARTIFACTS}/"):
        return name.removeprefix(f"{question.name}/")
    folder, _, file = name.rpartition("/")
    study, _, number = folder.rpartition("/")
    ours = study in question.siblings and number.isdecimal()
    return name if ours and (file == WEIGHTS or fnmatch.fnmatch(file, KEPT)) else None


def _forget_overtaken(question: Question, studies: Iterable[str]) -> None:
    """Of what trials of a study have kept, only the best one's stays, as where they are trained."""
    for study in studies:
        complete = question.study(study).get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = min(filter(ranks, complete), key=lambda trial: (trial.values[0], trial.number), default=None)
        ended = {f"{trial.number:05}" for trial in complete if best and trial.number != best.number}
        for folder in trial_folders(question.storage.url, study):
            if folder.name in ended:
                with contextlib.suppress(OSError):
                    (folder / WEIGHTS).unlink(missing_ok=True)
                    folder.rmdir()
