"""Where a plug-in comes from: a file, or a module that is installed; how it is run, and what it was when it was."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import ModuleType

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.paths import path_typed

SUFFIX = ".py"


class Source(ABC):
    """A plug-in that somebody has named.

    name: that of the plug-in. module: of what is imported. word: how it is named again, from anywhere.
    """

    name: str
    module: str
    word: str

    @abstractmethod
    def run(self) -> ModuleType:
        """Import it. Raises whatever its code raises."""

    @abstractmethod
    def version(self, module: ModuleType) -> str:
        """What it says of itself; empty if that is nothing."""

    @abstractmethod
    def digest(self, modules: Iterable[str]) -> str:
        """sha256 of its code. modules: those in which its parts are defined."""

    @abstractmethod
    def owns(self, file: str) -> bool:
        """Whether a file is of its code."""


class File(Source):
    """A file of the user's: nothing beside it is imported, and none of Python's copies of it is read."""

    def __init__(self, path: Path) -> None:
        """Raises TunemaxError for what can be no plug-in."""
        self.path = Path(os.path.abspath(path))
        self.name, self.word = path.stem, str(self.path)
        self.module = f"tunemax_plugin_{self.name}"
        if path.is_dir():
            raise TunemaxError(f"{path}: a folder; name a Python file of it, or a module that is installed")
        if not path.exists():
            raise TunemaxError(f"{path}: no such file")
        if path.suffix != SUFFIX:
            raise TunemaxError(f"{path}: not a Python file; its name would end with {SUFFIX}")
        if not self.name.isidentifier():
            raise TunemaxError(f"{path}: cannot name a plug-in; call the file by letters, digits and _")
        if os.pathsep in self.word:
            raise TunemaxError(f"{path}: there is {os.pathsep} in its path, which parts paths; put it elsewhere")

    @cached_property
    def code(self) -> bytes:
        """Read once: what is run is what the digest is of."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise TunemaxError(f"{self.path}: cannot be read ({error.strerror})") from error

    def run(self) -> ModuleType:
        module = ModuleType(self.module)
        module.__file__ = self.word
        sys.modules[self.module] = module
        exec(compile(self.code, self.word, "exec"), module.__dict__)
        return module

    def version(self, module: ModuleType) -> str:
        return _said(module)

    def digest(self, modules: Iterable[str]) -> str:
        return hashlib.sha256(self.code).hexdigest()

    def owns(self, file: str) -> bool:
        return file == self.word


class Module(Source):
    """A module that Python finds, of a package that is installed."""

    def __init__(self, name: str) -> None:
        """Raises TunemaxError for one that is not there."""
        self.name = self.module = self.word = name
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):  # of a package above it
            found = None
        if found is None:
            file = f"{name}{SUFFIX}"
            beside = f"; to name the file that is here, write ./{file}" if Path(file).is_file() else ""
            raise TunemaxError(f"{name}: no such module is installed, and no file is called so{beside}")
        self._files = [str(found.origin)] if found.origin else []
        self._folders = list(found.submodule_search_locations or ())

    def run(self) -> ModuleType:
        return importlib.import_module(self.name)

    def version(self, module: ModuleType) -> str:
        for distribution in packages_distributions().get(self.name.partition(".")[0], ()):
            try:
                return version(distribution)
            except PackageNotFoundError:
                continue
        return _said(module)

    def digest(self, modules: Iterable[str]) -> str:
        """Of the module, with all that is below it, and of those in which its parts are defined."""
        files = {(self.name, Path(file)) for file in self._files}
        for folder in map(Path, self._folders):
            files |= {(f"{self.name}/{path.relative_to(folder)}", path) for path in folder.rglob(f"*{SUFFIX}")}
        for name in modules:
            if file := getattr(sys.modules.get(name), "__file__", None):
                files.add((name, Path(file)))
        whole = hashlib.sha256()
        seen: set[Path] = set()
        for name, path in sorted(files):
            if path not in seen and path.is_file():
                seen.add(path)
                whole.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return whole.hexdigest()

    def owns(self, file: str) -> bool:
        return file in self._files or any(Path(file).is_relative_to(folder) for folder in self._folders)


def source_of(named: str) -> Source:
    """The file or module that a word names: a file by its path, or by an ending .py; else a module by its dotted name.

    Raises TunemaxError for what is neither.
    """
    path = path_typed(named)
    is_module = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", named) and path.suffix != SUFFIX
    return Module(named) if is_module and not path.is_file() else File(path)


def _said(module: ModuleType) -> str:
    said = getattr(module, "__version__", "")
    return said if isinstance(said, str) else ""
