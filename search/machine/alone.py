"""A training in this very process: how many threads it takes, and whether there is memory for it."""

from __future__ import annotations

from tunemax.gpt import hardware
from tunemax.gpt.config import Config
from tunemax.gpt.cost import Cost, trained
from tunemax.gpt.errors import TunemaxError
from tunemax.search.machine import memory
from tunemax.search.machine.limits import cores, free
from tunemax.search.question.budget import VOCABULARY
from tunemax.search.question.counting import counted, one_or

THREAD = 4e9
"""Operations of an iteration for each thread. With less, a thread waits for the others longer than it works, and ten
times as long where other processes want the cores (benchmarks/RESULTS.md)."""
BYTES = 4
"""Of a number."""


def threads(config: Config) -> int:
    """Threads for one training of this configuration on the CPU: one for a small one, all cores for a large one."""
    return max(1, min(cores(), int(Cost.of(config, VOCABULARY).flops / THREAD)))


def check_room(config: Config, members: int = 1) -> None:
    """Raise TunemaxError if so many members of a configuration cannot fit into free memory.

    What it counts is less than they take: the weights with what the optimizer keeps, or half of the guess, which is
    right within a factor of two.
    """
    if config.train.device != "cpu" and hardware.has_gpu():
        return
    kept = 2 + len(config.optimizer.moments)  # a number that is trained, its gradient and its moments
    weights = members * kept * BYTES * trained(config, VOCABULARY)
    needed = max(weights, memory.estimated(config).of(members) / 2)
    if needed > (room := free()):
        layers = f"{counted(config.model.n_layer, 'layer')} × {config.model.n_embd}"
        need = f"{counted(members, 'model')} of {layers} {one_or(members, 'needs', 'need')}"
        remedy = "make n_embd, n_layer, block_size or batch_size smaller"
        fewer = "take fewer, or " if members > 1 else ""
        raise TunemaxError(f"memory: {need} at least {_size(needed)}, and {_size(room)} are free; {fewer}{remedy}")


def _size(count: float) -> str:
    return f"{count / 1e12:,.1f} TB" if count >= 1e12 else f"{count / 1e9:,.1f} GB"
