"""Cooled rungs: a trial is judged there by a branch that has decayed fully, while its trunk trains on at a stable rate.

A branch is a fork of the trial's member, with the same settings and a horizon that ends at the rung. Batches and
dropout are functions of seed and iteration, so branch and trunk see the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tunemax.gpt.schedule import branch_steps, decay_start
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.trainer import Member, Trainer


@dataclass(frozen=True)
class Branch:
    """A branch under way. trunk: the trial's member as it was where the branch left it."""

    member: Member
    trunk: Snapshot


class Branches:
    """The branches of one trial, beside its trunk in the same trainer. Without rungs there are none.

    A branch is never saved: a trial that is interrupted meanwhile goes on from where the branch left the trunk, and
    forks again. So a rung whose branch would have left before the trunk came here is done with.
    """

    def __init__(self, trainer: Trainer, trunk: Member, rungs: Sequence[int]) -> None:
        self._trainer = trainer
        self._trunk = trunk
        self._planned = tuple(rungs)
        starts = {rung: decay_start(trunk.config.train, rung) for rung in rungs}
        self._starts = {rung: start for rung, start in starts.items() if start >= trunk.iteration}
        self._under_way: dict[int, Branch] = {}
        """By rung, the one that began first in front."""

    @property
    def rungs(self) -> Sequence[int]:
        """Those that are still to be judged, or were since this began."""
        return list(self._starts)

    @property
    def stops(self) -> list[int]:
        """Where the trunk has to halt: at each beginning of a branch, and at each rung."""
        return [*self._starts.values(), *self.rungs]

    @property
    def steps(self) -> int:
        """Iterations that the branches have trained."""
        return branch_steps(self._trunk.config.train, self._planned, self._trunk.iteration)

    def begin(self) -> None:
        """Fork a branch if one leaves the trunk here and has not yet."""
        for rung, start in self._starts.items():
            if start == self._trunk.iteration and rung not in self._under_way:
                trunk = self._trainer.snapshot(self._trunk)
                config, values = trunk.config.replace({"max_iters": rung}), {**trunk.values, "max_iters": rung}
                member = self._trainer.restore(replace(trunk, config=config, values=values))
                self._under_way[rung] = Branch(member, trunk)

    def judged(self) -> Member:
        """The member whose loss the trial reports here: at a rung its branch, else the trunk."""
        branch = self._under_way.get(self._trunk.iteration)
        return branch.member if branch else self._trunk

    def end(self) -> None:
        """Remove the branch that has reached its rung."""
        if branch := self._under_way.pop(self._trunk.iteration, None):
            self._trainer.remove(branch.member)

    def leave(self) -> None:
        """Remove all branches that are under way."""
        for branch in self._under_way.values():
            self._trainer.remove(branch.member)
        self._under_way.clear()

    def snapshot(self) -> Snapshot:
        """What the trial goes on from if it is interrupted here."""
        first = next(iter(self._under_way.values()), None)
        return first.trunk if first else self._trainer.snapshot(self._trunk)
