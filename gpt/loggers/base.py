"""What a logger is, and all loggers of a training as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar, Self

from tunemax.gpt.config import Config
from tunemax.gpt.files import Guard
from tunemax.gpt.probe import Probe

LOGGERS: list[type[Logger]] = []
"""Every kind of logger."""


class Logger(ABC):
    """Shows one training somewhere. What was logged is kept when a call returns.

    Raises TunemaxError, in every call, if that cannot be done.
    """

    files: ClassVar[tuple[str, ...]] = ()
    """Patterns of what it leaves in the folder of a training, to be removed with it."""

    def __init_subclass__(cls) -> None:
        LOGGERS.append(cls)

    @classmethod
    @abstractmethod
    def open(
        cls,
        folder: Path,
        config: Config | None,
        *,
        resumed_at: int | None = None,
        each_head: bool = True,
        name: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Self | None:
        """A logger of one training, or None if its configuration does not want this kind.

        Args:
            folder: of the training.
            config: what is trained; None of an agent, which is no member.
            resumed_at: what was logged of this iteration and later ones is logged again.
            each_head: softmax is shown for each head, or as the mean of a layer's heads.
            name: what the training is called.
            labels: what else tells it from others, by column.
        """

    @abstractmethod
    def log(self, values: Mapping[str, float], iteration: int, probe: Probe | None = None) -> None:
        """Scalars by their tags, and what was measured of the softmax at the same iteration."""

    @abstractmethod
    def close(self, completed: bool | None = None) -> None:
        """The training is over, and has reached its horizon or not; None if it may go on later."""


class Loggers:
    """The loggers of one training as one; false if there are none, and nothing need be measured for them.

    Args:
        opening: opens a logger of a kind for this training.
        guard: lets training go on without a logger that fails; without a guard its error is the caller's.
    """

    def __init__(self, opening: Callable[[type[Logger]], Logger | None], guard: Guard | None = None) -> None:
        self._guard: Callable[[], AbstractContextManager[None]] = guard or nullcontext
        self._open: list[Logger] = []
        for kind in LOGGERS:
            with self._guard():
                if logger := opening(kind):
                    self._open.append(logger)

    def __bool__(self) -> bool:
        return bool(self._open)

    def log(self, values: Mapping[str, float], iteration: int, probe: Probe | None = None) -> None:
        self._each(lambda logger: logger.log(values, iteration, probe))

    def close(self, completed: bool | None = None) -> None:
        self._each(lambda logger: logger.close(completed))
        self._open.clear()

    def _each(self, act: Callable[[Logger], None]) -> None:
        for logger in list(self._open):
            with self._guard():
                act(logger)
                continue
            self._open.remove(logger)  # it has failed, and would again
            logger.close()
