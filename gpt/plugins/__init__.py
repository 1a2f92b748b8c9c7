"""Plug-ins: parts of a training from files and packages of the user's own, loaded from what he names."""

from tunemax.gpt.plugins.loading import FAMILIES, PLUGINS, Plugin, behind, load, load_named, loaded, told, unload
from tunemax.gpt.plugins.records import PluginRecord, changed, check, missing, records

__all__ = [
    "FAMILIES",
    "PLUGINS",
    "Plugin",
    "PluginRecord",
    "behind",
    "changed",
    "check",
    "load",
    "load_named",
    "loaded",
    "missing",
    "records",
    "told",
    "unload",
]
