"""Which plug-ins a study was made with, as it says of itself: names and digests, and no place to load them from."""

from __future__ import annotations

from collections.abc import Iterable

import pydantic

from tunemax.gpt.plugins import PluginRecord
from tunemax.search.storage import attributes
from tunemax.search.storage.siblings import Attributes

_RECORDS = pydantic.TypeAdapter(tuple[PluginRecord, ...])


def written(records: Iterable[PluginRecord]) -> str:
    """Of a study's attribute."""
    return _RECORDS.dump_json(tuple(records)).decode()


def recorded(studies: Iterable[Attributes]) -> tuple[PluginRecord, ...]:
    """What these studies were made with; what cannot be read says nothing."""
    found: dict[PluginRecord, None] = {}
    for given in studies:
        try:
            found |= dict.fromkeys(_RECORDS.validate_json(given.get(attributes.PLUGINS, "[]")))
        except pydantic.ValidationError:
            continue
    return tuple(found)
