"""The files beside trials and studies that Optuna's dashboard shows: where they lie, and which there are."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from optuna.artifacts import ArtifactMeta, FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.gpt.paths import inside
from tunemax.search.storage.paths import ARTIFACTS, runs_folder

KEY = "artifacts:"
"""Prefix of the system attributes by which Optuna and its dashboard know the artifacts of a trial or study."""


def artifact_folder(storage_url: str) -> Path:
    """Where the artifacts of a storage's trials lie: `artifacts/` among its runs."""
    return inside(runs_folder(storage_url), ARTIFACTS)


def make_artifact_folder(storage_url: str) -> Path:
    """Make the folder if it is missing, and write in it. Raises TunemaxError if that cannot be done."""
    folder = artifact_folder(storage_url)
    probe = inside(folder, f".{uuid.uuid4().hex}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        remedy = "mend its rights, or name another place with TUNEMAX_RUNS"
        raise TunemaxError(f"{folder}: artifacts cannot be written there ({error.strerror}); {remedy}") from error
    return folder


def attach(storage: BaseStorage, storage_url: str, study_id: int, name: str, content: bytes) -> None:
    """Put a file beside a study in the dashboard, in place of one of this name. Raises TunemaxError if it cannot."""
    # One id for good: the next version overwrites the file, and pages that show it need not hear of another.
    meta = ArtifactMeta(str(uuid.uuid5(uuid.NAMESPACE_URL, f"tunemax:{study_id}:{name}")), name, "image/png", None)
    folder = artifact_folder(storage_url)
    try:
        write_whole(inside(folder, meta.artifact_id), content)
    except OSError as error:
        raise TunemaxError(f"{folder}: {name} cannot be written there ({error.strerror})") from error
    if KEY + meta.artifact_id not in storage.get_study_system_attrs(study_id):
        storage.set_study_system_attr(study_id, KEY + meta.artifact_id, json.dumps(asdict(meta)))


def remove_artifacts(
    storage_url: str, owners: Iterable[Mapping[str, Any]], staying: Iterable[Mapping[str, Any]] = ()
) -> None:
    """Delete the files of trials and studies that are to be deleted themselves. owners: their system attributes.

    staying: those of copies, which have the same files.
    """
    store = ArtifactStore(artifact_folder(storage_url))
    shared = {meta.artifact_id for attributes in staying for meta in uploaded(attributes)}
    for attributes in owners:
        for meta in uploaded(attributes):
            if meta.artifact_id in shared:
                continue
            with contextlib.suppress(ArtifactNotFound, IsADirectoryError, TunemaxError):  # gone, or never ours
                store.remove(meta.artifact_id)


def uploaded(attributes: Mapping[str, Any]) -> list[ArtifactMeta]:
    """What is uploaded for a trial or study with these system attributes; not what was deleted in the dashboard, and
    no record that is none."""
    metas = []
    for value in (value for key, value in attributes.items() if key.startswith(KEY)):
        with contextlib.suppress(ValueError, TypeError):
            if meta := json.loads(value):
                metas.append(ArtifactMeta(**meta))
    return metas


class ArtifactStore(FileSystemArtifactStore):
    """Optuna's store of files in a folder, where no artifact's id leads out of it. Raises TunemaxError for one that
    would."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def open_reader(self, artifact_id: str) -> BinaryIO:
        return super().open_reader(self._checked(artifact_id))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        super().write(self._checked(artifact_id), content_body)

    def remove(self, artifact_id: str) -> None:
        super().remove(self._checked(artifact_id))

    def _checked(self, artifact_id: str) -> str:
        return str(inside(self._folder, str(artifact_id)).relative_to(self._folder))
