"""The generators that all code of a process shares: whoever draws from them changes what others will draw."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class GlobalRng:
    """Where they stood at a moment, as far as they were loaded then."""

    states: dict[str, Any]

    @classmethod
    def now(cls) -> Self:
        states: dict[str, Any] = {"random": random.getstate()}
        if numpy := sys.modules.get("numpy"):
            states["numpy.random"] = numpy.random.get_state()
        if torch := sys.modules.get("torch"):
            states["torch"] = torch.get_rng_state()
        return cls(states)

    @classmethod
    def begun_anew(cls, names: Iterable[str]) -> Self:
        """With these as they are when they are loaded: seeded by chance."""
        if "numpy.random" in names:
            sys.modules["numpy"].random.seed()
        if "torch" in names:
            sys.modules["torch"].seed()
        return cls.now()

    def moved(self) -> str | None:
        """Whose was drawn from, or seeded, since; None if nobody's was."""
        now = type(self).now().plain()
        return next((name for name, state in self.plain().items() if now[name] != state), None)

    def plain(self) -> dict[str, bytes]:
        """States that can be compared."""
        parts = {name: state if isinstance(state, tuple) else (state,) for name, state in self.states.items()}
        return {name: b" ".join(map(_bytes, state)) for name, state in parts.items()}

    def restore(self) -> None:
        """Let them go on from there."""
        random.setstate(self.states["random"])
        if "numpy.random" in self.states:
            sys.modules["numpy"].random.set_state(self.states["numpy.random"])
        if "torch" in self.states:
            sys.modules["torch"].set_rng_state(self.states["torch"])


def _bytes(part: Any) -> bytes:
    """Of a number, a tuple of them, an array or a tensor."""
    array = part.numpy() if hasattr(part, "numpy") else part
    return bytes(array.tobytes()) if hasattr(array, "tobytes") else repr(array).encode()
