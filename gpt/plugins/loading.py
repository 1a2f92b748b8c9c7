"""Loads plug-ins: whole, once, and only if what they register can be had.

A plug-in is named by the person who starts the process: by a flag or in Python (`load`), in the environment, or by
having installed a package that says so (`load_named`). No name is ever taken from a database, a checkpoint or an agent.
Processes that this one starts find what it has loaded in their environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import FrameType, ModuleType
from typing import Any

from tunemax.gpt.attention import Attention
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.mlp import Mlp
from tunemax.gpt.modules import broken, place_of
from tunemax.gpt.norm import Norm
from tunemax.gpt.optimizer import Optimizer
from tunemax.gpt.parts import Part
from tunemax.gpt.plugins.global_rng import GlobalRng
from tunemax.gpt.plugins.sources import File, Source, source_of
from tunemax.gpt.positions import Positions
from tunemax.gpt.softmax import Variant

FAMILIES: dict[str, type[Part]] = {
    "softmax": Variant,
    "attention": Attention,
    "norm": Norm,
    "mlp": Mlp,
    "positions": Positions,
    "optimizer": Optimizer,
}
"""What a plug-in can bring, as folders of this floor, entry points and commands call it."""
PLUGINS = "TUNEMAX_PLUGINS"
"""Environment variable: files and modules of plug-ins, parted as paths are."""
NAME = r"[a-z][a-z0-9_]{0,39}"
"""Of a kind: it becomes a part of the names of studies and files."""
OURS = ("tunemax", "pydantic", "abc", "builtins")
"""Packages whose classes are no plug-in's."""
MEND = "mend the plug-in, or leave it out"


@dataclass(frozen=True)
class Plugin:
    """One that is loaded.

    word: how it is named from anywhere. by: who has named it. version: empty if nobody says. digest: sha256 of its
    code. modules: in which its parts and their bases are defined, but for those of other plug-ins.
    """

    name: str
    version: str
    digest: str
    word: str
    by: str
    kinds: tuple[type[Part], ...]
    modules: frozenset[str]


_loaded: dict[str, Plugin] = {}
_loading: list[str] = []


def load(named: str | os.PathLike[str], by: str = "load") -> Plugin:
    """Load a plug-in, here and in the processes that this one starts; nothing happens if it is loaded.

    named: the path of a Python file, or the name of a module. by: who has named it, in a word. Raises TunemaxError,
    with file and line where there is one, and nothing is registered then: for what is not there or not Python, raises
    at import, draws from a global generator, registers nothing, a name that is taken or what no member could have; for
    a second plug-in of a name; and for one that has changed since it was loaded.
    """
    plugin = _load(os.fspath(named), by)
    if plugin is None:
        raise TunemaxError(f"{named}: loads itself; a plug-in has only to be imported")
    words = _environment()
    if plugin.by != INSTALLED and plugin.word not in words:
        os.environ[PLUGINS] = os.pathsep.join([*words, plugin.word])
    return plugin


def load_named() -> None:
    """Load what the environment names, and what is installed with an entry point of a family. Raises TunemaxError."""
    for plugin in _loaded.values():
        _check_fields(plugin.kinds)  # it may have been loaded before there was anything to compare with
    for word in _environment():
        _load(word, PLUGINS)
    for module in _installed():
        _load(module, INSTALLED)


def loaded() -> dict[str, Plugin]:
    """What is loaded, by name."""
    return dict(_loaded)


def unload(name: str) -> None:
    """Forget a plug-in, so that a changed one can be loaded. What was made of it goes on as it is."""
    plugin = _loaded.pop(name)
    for kind in plugin.kinds:
        kind.withdraw()
    for module in plugin.modules:
        sys.modules.pop(module, None)
    os.environ[PLUGINS] = os.pathsep.join(word for word in _environment() if word != plugin.word)


def behind(kinds: Iterable[type[Part]]) -> list[Plugin]:
    """The plug-ins that these kinds, or what they are made of, come from."""
    modules = {base.__module__ for kind in kinds for base in kind.__mro__}
    return [plugin for plugin in _loaded.values() if plugin.modules & modules]


def told(plugins: Iterable[Plugin] | None = None) -> list[str]:
    """The words of a command that name plug-ins again which it would not find by itself; all that are loaded."""
    chosen = _loaded.values() if plugins is None else plugins
    return [word for plugin in chosen if plugin.by not in (PLUGINS, INSTALLED) for word in ("--plugin", plugin.word)]


# ---------------------------------------------------------------------------------------------------------- inside

INSTALLED = "installed"


def _environment() -> list[str]:
    return list(filter(None, os.environ.get(PLUGINS, "").split(os.pathsep)))


@cache
def _installed() -> list[str]:
    """The modules of entry points; whoever has installed the package has named them."""
    entries = entry_points()
    groups = [entries.select(group=f"tunemax.{family}") for family in FAMILIES]
    return sorted({entry.module for group in groups for entry in group})


def _load(named: str, by: str) -> Plugin | None:
    """None for one that is being loaded, and has imported what loads all."""
    source = source_of(named)
    if source.name in _loading:
        return None
    if there := _loaded.get(source.name):
        return _same(there, source)
    before, rng = set(_kinds()), GlobalRng.now()
    _loading.append(source.name)
    try:
        module = _run(source, before)
        if brought := GlobalRng.now().states.keys() - rng.states.keys():  # of these nobody knows where they stood
            _undo(source, before)
            rng = GlobalRng.begun_anew(brought)
            module = _run(source, before)
        if whose := rng.moved():
            _undo(source, before)
            place = _drawing(source, rng)
            _undo(source, before)
            rng.restore()
            reason = f"draws from, or seeds, the global generator of {whose} when it is imported"
            raise TunemaxError(f"{place}: {reason}; take a generator of its own, as `tunemax.gpt.random.generator` is")
        try:
            plugin = _checked(source, module, before, by)
        except TunemaxError:
            _undo(source, before)
            raise
    finally:
        _loading.remove(source.name)
    _loaded[plugin.name] = plugin
    return plugin


def _same(there: Plugin, source: Source) -> Plugin:
    """The one that is loaded, if what is named is that."""
    if not isinstance(source, File) and there.word == source.word:
        return there
    if isinstance(source, File) and there.digest == source.digest(()):
        return there
    if there.word == source.word:
        raise TunemaxError(f"{source.word}: has changed since this process has loaded it; start anew")
    raise TunemaxError(f"{source.word}: a plug-in of the name {source.name} is loaded from {there.word}; rename one")


def _kinds() -> Iterator[type[Part]]:
    for family in FAMILIES.values():
        yield from family.kinds().values()


def _run(source: Source, before: set[type[Part]]) -> ModuleType:
    """Raises TunemaxError with the line that has failed."""
    try:
        return source.run()
    except (Exception, SystemExit) as error:
        _undo(source, before)
        raise broken(_place(source, error), error, MEND) from error


def _undo(source: Source, before: set[type[Part]]) -> None:
    """As if it had never been run."""
    for family in FAMILIES.values():
        for kind in {*family.registry.values()} - before:  # one whose alias is taken has its name already
            kind.withdraw()
    for name, module in list(sys.modules.items()):
        if name == source.module or source.owns(getattr(module, "__file__", None) or ""):
            del sys.modules[name]


def _checked(source: Source, module: ModuleType, before: set[type[Part]], by: str) -> Plugin:
    """Raises TunemaxError for what no member could have."""
    taken = {kind for plugin in _loaded.values() for kind in plugin.kinds}
    own = [
        kind
        for kind in _kinds()
        if kind not in taken and (kind not in before or f"{kind.__module__}.".startswith(f"{source.module}."))
    ]
    if not own:
        like = 'class Mine(Variant, name="mine")'
        raise TunemaxError(f"{source.word}:1: registers no part; a plug-in has a class with a name, such as {like}")
    for kind in own:
        try:
            for name in (kind.name, *kind.aliases):
                if not re.fullmatch(NAME, name):
                    raise TypeError(f"{kind.noun} name {name!r}: expected at most 40 letters a-z, digits and _")
            kind.check_declared()
        except Exception as error:
            raise broken(place_of(kind), error, MEND) from error
    _check_fields(own)
    bases = {base.__module__ for kind in own for base in kind.__mro__}
    others = {name for plugin in _loaded.values() for name in plugin.modules}
    modules = frozenset(name for name in bases - others if name.partition(".")[0] not in OURS)
    return Plugin(source.name, source.version(module), source.digest(modules), source.word, by, tuple(own), modules)


def _check_fields(kinds: Iterable[type[Part]]) -> None:
    """Raise TunemaxError for a field whose name another one has. Those of variants begin with the variant's name."""
    flat = [kind for kind in _kinds() if not issubclass(kind, Variant)]
    for kind in kinds:
        if issubclass(kind, Variant):
            continue
        for name, info in kind.model_fields.items():
            others = [other for other in flat if name in other.model_fields and other is not kind]
            owner = next((other for other in others if other.model_fields[name].metadata != info.metadata), None)
            if name in Part.reserved or owner:
                whose = f"{owner.noun} {owner.name}" if owner else "every training"
                reason = f"{kind.__qualname__}.{name}: {whose} has a field of this name; inherit it, or take another"
                raise broken(place_of(kind), TypeError(reason), MEND)


def _drawing(source: Source, rng: GlobalRng) -> str:
    """File and line of what draws from a global generator, found by running it once more."""
    places: list[str] = []
    found: list[str] = []

    def line(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        if places and not found and rng.moved():
            found.append(places[-1])
        places.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return line

    def call(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        return line if source.owns(frame.f_code.co_filename) else None

    rng.restore()
    traced = sys.gettrace()
    sys.settrace(call)
    try:
        with contextlib.suppress(Exception):  # it has run before; where it draws is known by then, or never
            source.run()
    finally:
        sys.settrace(traced)
    return found[0] if found else source.word


def _place(source: Source, error: BaseException) -> str:
    """File and line of what is wrong: the innermost of its own, as far as Python tells."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno or 1}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if source.owns(frame.filename)]
    if frames:
        return f"{frames[-1].filename}:{frames[-1].lineno}"
    return f"{source.word}:1" if isinstance(source, File) else source.word
