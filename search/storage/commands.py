"""Commands that a user is told to type: each is built here, so that it can be copied as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from tunemax.gpt.config import PLACES, Config, all_specs
from tunemax.search.storage.database import shown, storage_url
from tunemax.search.storage.paths import default_storage


def typed(where: str, *words: str, default: str | None = None) -> str:
    """A tunemax command as one types it here, with the storage unless the command finds it by itself.

    where: the storage, a path or a URL; a password in it is hidden. default: the storage that the command takes where
    none is named; None for the usual one.
    """
    place = shown(storage_url(where))
    if place == shown(storage_url(default_storage() if default is None else default)):
        return shlex.join(["tunemax", *words])
    return shlex.join(["tunemax", *words, "--storage", place if "://" in where else where])


def stock(where: str, command: str, *words: str) -> str:
    """A command of Optuna's own, which takes a URL."""
    place = shown(storage_url(where))
    return shlex.join(["optuna", command, "--storage", place if "://" in place else f"sqlite:///{place}", *words])


def fail(where: str, study: str, number: int) -> str:
    """The stock command that ends a trial which was asked with the stock tools."""
    return stock(where, "tell", "--study-name", study, "--trial-number", str(number), "--state", "fail")


def training(config: Mapping[str, Any]) -> list[str]:
    """The words of a command that trains a configuration again; defaults are left out, and the place of its files."""
    words = ["tunemax", "train"]
    for name, value in Config.stored(config).active().items():
        if value == all_specs()[name].default or name in PLACES:
            continue
        words += [f"--{name}" if value else f"--no-{name}"] if isinstance(value, bool) else [f"--{name}", str(value)]
    return words
