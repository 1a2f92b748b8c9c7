"""Commands that a user is told to type: each is built here, so that it can be copied as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from tunemax.gpt import plugins
from tunemax.gpt.config import PLACES, Config, all_specs
from tunemax.search.question.plugins import BY
from tunemax.search.storage.paths import default_storage
from tunemax.search.storage.secrets import secrets
from tunemax.search.storage.urls import shown, storage_url


def typed(where: str, *words: str, default: str | None = None) -> str:
    """A tunemax command as one types it here, with the storage unless the command finds it by itself.

    where: the storage, a path or a URL. One with a password belongs into the environment, and not on a command line,
    which every user of the machine can read. default: the storage that the command takes where none is named; None for
    the usual one.
    """
    words = (*words, *again(words))
    url = storage_url(where)
    if shown(url) == shown(storage_url(default_storage() if default is None else default)):
        return shlex.join(["tunemax", *words])
    if secrets(where):
        return f"{shlex.join(['tunemax', *words])} (with TUNEMAX_STORAGE set)"
    is_url_of_a_file = "://" in where and url.get_backend_name() == "sqlite"
    return shlex.join(["tunemax", *words, "--storage", shown(url) if is_url_of_a_file else where])


def again(words: Sequence[str]) -> list[str]:
    """The words that name plug-ins which a command with these words would not find by itself."""
    reads_a_file = any(word.endswith((".yaml", ".yml", ".json")) for word in words)
    return plugins.told(plugin for plugin in plugins.loaded().values() if not (reads_a_file and plugin.by == BY))


def stock(where: str, command: str, *words: str) -> str:
    """A command of Optuna's own, which takes a URL; one with a password from the environment."""
    place = shown(storage_url(where))
    if secrets(where):
        return f"{shlex.join(['optuna', command, *words])} (with OPTUNA_STORAGE set)"
    return shlex.join(["optuna", command, "--storage", where if "://" in place else f"sqlite:///{place}", *words])


def fail(where: str, study: str, number: int) -> str:
    """The stock command that ends a trial which was asked with the stock tools."""
    return stock(where, "tell", "--study-name", study, "--trial-number", str(number), "--state", "fail")


def training(config: Mapping[str, Any]) -> list[str]:
    """The words of a command that trains a configuration again; defaults are left out, and the place of its files."""
    whole = Config.stored(config)
    words = ["tunemax", "train", *plugins.told(plugins.behind(whole.kinds))]
    for name, value in whole.active().items():
        if value == all_specs()[name].default or name in PLACES:
            continue
        words += [f"--{name}" if value else f"--no-{name}"] if isinstance(value, bool) else [f"--{name}", str(value)]
    return words
