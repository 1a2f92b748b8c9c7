"""What studies, checkpoints and agents remember of plug-ins: their name and digest, and never where they were."""

from __future__ import annotations

from collections.abc import Iterable

import pydantic

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import shown
from tunemax.gpt.parts import Part
from tunemax.gpt.plugins.loading import PLUGINS, Plugin, behind, loaded

DIGITS = 12
"""Of a digest, that people read."""


class PluginRecord(pydantic.BaseModel):
    """A plug-in that something was made with. kinds: those that were used, as fields with their values."""

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    version: str = ""
    digest: str
    kinds: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``my_variant 1.2 (sha256 0123456789ab)``."""
        version = f" {shown(self.version)}" if self.version else ""
        return f"{shown(self.name)}{version} (sha256 {shown(self.digest[:DIGITS])})"


def records(kinds: Iterable[type[Part]]) -> tuple[PluginRecord, ...]:
    """Of the plug-ins that these kinds come from."""
    used = list(dict.fromkeys(kinds))
    return tuple(_of(plugin, used) for plugin in behind(used))


def _of(plugin: Plugin, used: Iterable[type[Part]]) -> PluginRecord:
    kinds = tuple(f"{kind.field} = {kind.name}" for kind in used if kind in plugin.kinds)
    return PluginRecord(name=plugin.name, version=plugin.version, digest=plugin.digest, kinds=kinds)


def missing(needed: Iterable[PluginRecord]) -> list[str]:
    """A sentence for each that is not loaded here."""
    here = loaded()
    return [
        f"needs the plug-in {each}{_bringing(each)}, which is not loaded; name its file or module with --plugin, or in "
        f"{PLUGINS}"
        for each in needed
        if each.name not in here
    ]


def changed(needed: Iterable[PluginRecord]) -> list[str]:
    """A sentence for each that is another one here."""
    here = loaded()
    return [
        f"made with the plug-in {each}, and {here[each.name].word} is another (sha256 "
        f"{here[each.name].digest[:DIGITS]}); name the one that it was made with, or begin anew"
        for each in needed
        if each.name in here and here[each.name].digest != each.digest
    ]


def check(needed: Iterable[PluginRecord], what: str) -> None:
    """Raise TunemaxError unless the same plug-ins are loaded here. what: is made with them."""
    wanted = list(needed)
    if reasons := missing(wanted) or changed(wanted):
        raise TunemaxError(f"{what}: {reasons[0]}")


def _bringing(record: PluginRecord) -> str:
    return f", for {shown(', '.join(record.kinds))}" if record.kinds else ""
