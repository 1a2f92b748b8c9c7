"""Training of K members in lockstep: a member is a row, and to add, remove or restore one is to move a row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunemax.gpt.cache import Cache
from tunemax.gpt.compile.step import Eager, Graphs
from tunemax.gpt.config import Config, all_specs, resolve
from tunemax.gpt.data.corpus import Corpus
from tunemax.gpt.data.targets import Asked, Targets
from tunemax.gpt.divergence import Event, Stability, divergence_cap, first_event, looked, spiked
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.feedback.batches import fed, feeds
from tunemax.gpt.feedback.writing import Pool, write
from tunemax.gpt.feedback.writing import Reading as StackReading
from tunemax.gpt.fields import shown
from tunemax.gpt.hardware import find_device
from tunemax.gpt.interrupt import held_back
from tunemax.gpt.lanes import Lane, Observer, Settled
from tunemax.gpt.layout import Layout
from tunemax.gpt.matmul import current_route
from tunemax.gpt.model import forward, parameters
from tunemax.gpt.optimizer import Rows, Update
from tunemax.gpt.random import Dropout
from tunemax.gpt.schedule import lr_factor
from tunemax.gpt.snapshot import Snapshot, by_name, pooled
from tunemax.gpt.softmax import Variant, from_column, to_column
from tunemax.gpt.tokenizers import Ids
from tunemax.gpt.train_config import TrainConfig

EVAL_WINDOWS = 32
"""Windows a forward pass of an evaluation: fixed, so that a loss does not depend on who else is evaluated."""
EVAL_TOKENS = 2048
"""Tokens of such a pass over fixed targets, for the same reason; at least one window."""
EVAL_MEMBERS = 8
"""Members a forward pass of an evaluation, at most: with more of them it would need more memory than training does."""

Windows = np.ndarray[Any, Any]
"""Token ids (n, T + 1), as `Corpus.windows` gives them."""
Measure = Callable[[Variant, Tensor, Tensor], Sequence[Tensor]]
"""What is measured of a lane's attention, (k, …) each, from (bound variant, logits (k, B, H, T, T), mask (T, T))."""
Reading = Callable[[Tensor, Cache | None], Tensor]
"""Logits (B, T, V) of the token after each of tokens (B, T), which stand behind those of a cache."""

THEN = ", then "
"""Between two ways to train, of a member that began in one and went on in another."""


@dataclass(eq=False)
class Member:
    """One training: a handle that stays valid while its row moves. Read it; change it through its trainer."""

    config: Config
    values: dict[str, Any]
    """The active fields as they are now: those of the config, but for controls that were set since."""
    iteration: int = 0
    event: Event | None = None
    train_loss: float = math.nan
    """Mean loss of the last call of `step`, in nats a token."""
    grad_norm: float = math.nan
    """Norm of the last gradient before clipping."""
    before: str = ""
    """How it was trained before it came to this trainer, as `Trainer.arithmetic_of` says it."""
    stability: Stability = field(default_factory=Stability)
    pool: Pool | None = None
    """What it has written itself, if anything."""

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next iteration."""
        return float(self.values["learning_rate"]) * lr_factor(self.config.train, self.iteration)

    @property
    def update(self) -> Update:
        """The next one of its row."""
        return Update.of(self.values, self.learning_rate, self.iteration + 1, self.config.hidden_rate)

    @property
    def evaluation_due(self) -> bool:
        """Whether it stands where it is to be evaluated: at each `eval_interval`, and at its horizon."""
        return self.iteration % self.config.train.eval_interval == 0 or self.at_horizon

    @property
    def at_horizon(self) -> bool:
        return self.iteration >= self.config.train.max_iters

    def look(self, loss: float, cap: float) -> None:
        """Take in the validation loss where it stands; it may tell that the member has diverged. Told once a look."""
        event, self.stability = looked(self.config, self.stability, cap, self.iteration, loss)
        self.event = self.event or event


class Trainer:
    """K members of one bucket on one corpus.

    Members may come and go between two calls; rows of one variant and code path lie side by side (a lane). In eager
    mode on a CPU a member's numbers do not depend, in any bit, on who its neighbours are.

    Args:
        config: any member's configuration; it fixes the bucket (shapes, batch, precision, device).
        corpus: the prepared text.
        dtype: of parameters and arithmetic; float64 is for tests.

    Raises TunemaxError for a device that is not here, or a text shorter than the context.
    """

    def __init__(self, config: Config, corpus: Corpus, dtype: torch.dtype = torch.float32) -> None:
        corpus.check_context(config.model.block_size)
        self.bucket = config.bucket
        self.corpus = corpus
        self._shared = config
        self.model = config.model
        switched_on = [name for name, value in self.bucket if value and all_specs()[name].declared.switch]
        self._amounts = [*switched_on, *(spec.name for spec in config.output.output_specs() if spec.is_scalar)]
        self.batch_size = config.train.batch_size
        self.bf16 = config.train.precision == "bf16"
        self.device = find_device(config.train.device)
        self.layout = Layout(parameters(config, corpus.manifest.vocab_size))
        eager = Eager(self.layout, config)
        self._eager = eager
        self._way = Graphs(eager, f"{self.bucket} {corpus.manifest.vocab_size}") if config.train.compile else eager
        self.members: list[Member] = []
        nobody = torch.zeros(0, self.layout.size, dtype=dtype, device=self.device)
        self._rows = Rows.begin(nobody, len(config.optimizer.moments))
        self._on_device: Tensor | None = None
        if self.device.type != "cpu":
            self._on_device = torch.from_numpy(np.asarray(corpus.train, dtype=np.int32)).to(self.device)

    # ------------------------------------------------------------------------------------------- members come and go

    def add(self, config: Config) -> Member:
        """A new member at its initial weights. Raises TunemaxError if it is not of this trainer's bucket."""
        member = Member(config, config.held())
        return self._insert(member, Rows.begin(self.layout.start(config)[None], len(config.optimizer.moments)))

    def remove(self, member: Member) -> None:
        """Forget a member; its row is gone."""
        row = self.members.index(member)
        with held_back():
            self._rows = self._rows.without(row)
            self.members.remove(member)

    def snapshot(self, member: Member) -> Snapshot:
        """A copy of everything about a member, in memory."""
        tensors = by_name(self._rows[self.members.index(member)], self.layout, member.config)
        tensors |= pooled(member.pool, member.iteration, member.config.feedback)
        arithmetic = self.arithmetic_of(member) if member.iteration else ""
        return Snapshot(member.config, dict(member.values), member.iteration, tensors, arithmetic, member.stability)

    def restore(self, snapshot: Snapshot) -> Member:
        """A member that goes on from a snapshot. Raises TunemaxError if it does not fit its configuration."""
        rows = snapshot.rows(self.layout, self._rows.theta.dtype)
        member = Member(snapshot.config, dict(snapshot.values), snapshot.iteration, before=snapshot.arithmetic)
        member.stability, member.pool = snapshot.stability, snapshot.pool(self.corpus.manifest.vocab_size)
        return self._insert(member, rows)

    def set(self, member: Member, control: str, value: float) -> None:
        """Change a field of a running member.

        A learnable that SGD moves is put to this value in every layer, or in one: ``constantmax.gamma@0``, which is
        then among the member's values, too. Its moments stay. Raises TunemaxError for a field that is no control, that
        is inert here, a layer that is not there, or a value outside its valid range or not possible beside the others.
        """
        given, at, layer = control.partition("@")
        name = resolve(given)
        spec = all_specs()[name]
        if spec.declared.control is None:
            raise TunemaxError(f"{name}: not a control; it cannot change while a training runs")
        if name not in member.values:
            values = member.config.flat()
            reasons = [f"{other} is {shown(values[other])}" for other in sorted(spec.depends_on & values.keys())]
            raise TunemaxError(f"{name}: means nothing for this member ({', '.join(reasons)})")
        own = name.rpartition(".")[2]
        softmax = member.config.softmax
        forms = softmax.learned() if name.startswith(f"{softmax.name}.") else {}
        if at and (own not in forms or layer not in map(str, range(self.model.n_layer))):
            each = f"layers 0 to {self.model.n_layer - 1} have one each" if own in forms else "all layers share it"
            raise TunemaxError(f"{control}: no such control; {each}")
        checked = member.config.checked(member.values, name, value)
        member.values[f"{name}@{layer}" if at else name] = checked
        if own in forms:
            columns = self._rows.theta[self.members.index(member), self.layout.spans["scalar"]]
            by_layer = self.layout.learnable(columns, member.config, own)  # (L, H or 1)
            by_layer[int(layer) if at else slice(None)].fill_(to_column(checked, forms[own]))
            for passed in range(0 if at else self.model.n_layer):
                member.values.pop(f"{name}@{passed}", None)

    # ------------------------------------------------------------------------------------------------------ training

    def prepare(self) -> None:
        """Compile or load what the next step needs. `step` would, too; this changes nothing and may be broken off."""
        if self.members:
            self._way.prepare(self._rows, next(self._of_text(1)), self._lanes(), self._dropout())

    def step(self, n: int = 1) -> None:
        """Train every member for n iterations. A look at the losses, once at the end, notes who has diverged."""
        if not self.members:
            return
        lanes = self._lanes()
        learnable = self.layout.spans["scalar"]
        trace: list[Tensor] = []
        for batch in self._batches(n):
            dropout = self._dropout()
            if not trace:
                self._way.prepare(self._rows, batch, lanes, dropout)
            with held_back():
                loss, norms = self._way(self._rows, batch, lanes, [member.update for member in self.members], dropout)
                for member in self.members:
                    member.iteration += 1
            trace.append(torch.cat((loss[:, None], norms[:, None], self._rows.theta[:, learnable]), dim=1))
        if trace:
            self._note(torch.stack(trace).cpu())

    def offsets(self, train: TrainConfig, iteration: int) -> Ids:
        """Where a member's windows of an iteration begin, (B,). Raises TunemaxError if its text is shorter than one."""
        part = train.data_start, train.data_end
        return self.corpus.batch_offsets(train.seed, iteration, self.batch_size, self.model.block_size, *part)

    def evaluate(self, part: str | None = None, members: Iterable[Member] | None = None) -> dict[Member, float]:
        """Loss of each member on fixed targets of a validation slice, in nats a token. Training is not affected.

        At its horizon a member is evaluated on all of its `eval_tokens`, before it on the part of them that a look
        takes. part: tuning, confirmation or test (TunemaxError for another); None for the one in a member's
        configuration.
        """
        chosen = list(self.members if members is None else members)
        return self._evaluated(
            {member: Asked.of(member.config.train, not member.at_horizon, part) for member in chosen}
        )

    def look(self, members: Iterable[Member]) -> dict[Member, float]:
        """The same on what a look takes, at a member's horizon, too."""
        return self._evaluated({member: Asked.of(member.config.train, look=True) for member in members})

    def bytes_per_token(self, member: Member) -> float:
        """Bytes of UTF-8 text that a token stands for where `evaluate` evaluates this member now: bits a byte are nats
        a token / (ln 2 · this)."""
        train = member.config.train
        if train.eval_by == "windows":
            return self.corpus.bytes_per_token(train.eval_slice)
        targets = self._targets(Asked.of(train, not member.at_horizon))
        return targets.bytes / targets.tokens

    def _targets(self, asked: Asked) -> Targets:
        return self.corpus.targets(asked.slice, asked.tokens, self.model.block_size, look=asked.look)

    def _evaluated(self, wanted: Mapping[Member, Asked]) -> dict[Member, float]:
        result: dict[Member, float] = {}
        for asked in dict.fromkeys(wanted.values()):
            alike = [member for member, of_member in wanted.items() if of_member == asked]
            for group in (alike[place : place + EVAL_MEMBERS] for place in range(0, len(alike), EVAL_MEMBERS)):
                if asked.windows is None:
                    result |= self._mean_of_targets(group, asked)
                else:
                    windows = self.corpus.windows(asked.slice, self.model.block_size, asked.windows)
                    result |= self.mean_losses(group, windows)
        return result

    def _mean_of_targets(self, members: list[Member], asked: Asked) -> dict[Member, float]:
        targets, T = self._targets(asked), self.model.block_size
        counted, at_once = targets.counted(T), max(1, EVAL_TOKENS // T)
        total = np.zeros(len(members))
        for start in range(0, len(counted), at_once):
            now = slice(start, start + at_once)
            losses = self._token_losses(members, self.corpus.windows_at(asked.slice, targets.offsets[now], T))
            total += (losses.double().cpu().numpy() * counted[now]).sum((1, 2))
        return dict(zip(members, (total / targets.tokens).tolist(), strict=True))

    def mean_losses(self, members: list[Member], windows: Windows, at_once: int = EVAL_WINDOWS) -> dict[Member, float]:
        """Loss of each member on windows (n, T + 1), in nats a token; `at_once` as `passes` has it."""
        total = np.zeros(len(members))
        for losses, _ in self.passes(members, windows, at_once=at_once):
            total += losses.sum(1)
        return dict(zip(members, (total / len(windows)).tolist(), strict=True))

    def passes(
        self, members: list[Member], windows: Windows, measure: Measure | None = None, at_once: int = EVAL_WINDOWS
    ) -> Iterator[tuple[np.ndarray[Any, Any], list[list[Tensor]]]]:
        """Forward passes without dropout over windows (n, T + 1) that all members share, so many windows at once.

        Of each the losses (K, B), and by layer what `measure` makes of attention there, (K, …) each. With a measure
        members are in this trainer's order. Training is not affected.
        """
        by_layer: list[list[Sequence[Tensor]]] = [[] for _ in range(self.model.n_layer)]  # one entry a lane

        def observe(layer: int, variant: Variant, logits: Tensor, mask: Tensor) -> None:
            assert measure is not None
            by_layer[layer].append(measure(variant, logits, mask))

        for start in range(0, len(windows) if members else 0, at_once):
            losses = self.window_losses(members, windows[start : start + at_once], observe if measure else None)
            yield losses, [[torch.cat(parts) for parts in zip(*lanes, strict=True)] for lanes in by_layer]
            for lanes in by_layer:
                lanes.clear()

    def window_losses(
        self, members: list[Member], windows: Windows, observe: Observer | None = None
    ) -> np.ndarray[Any, Any]:
        """Mean loss of each window (K, B), without dropout, of one forward pass over windows (B, T + 1)."""
        return np.asarray(self._token_losses(members, windows, observe).mean(-1).double().cpu().numpy())

    def _token_losses(self, members: list[Member], windows: Windows, observe: Observer | None = None) -> Tensor:
        """Loss of each target, (K, B, T), in the order of the members."""
        ordered = [member for member in self.members if member in members]
        rows = [self.members.index(member) for member in ordered]
        tokens = torch.from_numpy(windows).to(self.device).expand(len(rows), *windows.shape)
        theta = self._rows.theta if len(rows) == len(self.members) else self._rows.theta[rows]
        loss = self._way.evaluate(theta, tokens, self._lanes(ordered), observe)
        return loss if ordered == members else loss[[ordered.index(member) for member in members]]

    def logits(self, member: Member, tokens: Tensor) -> Tensor:
        """Of the token after each of tokens (B, T ≤ block_size), without dropout: (B, T, V) on the CPU."""
        return self.reading(member)(tokens, None)

    def reading(self, member: Member) -> Reading:
        """A member that reads, as it is now: the same of tokens (B, T) that stand behind those of a cache, if one is
        given, to which they are added. It is meant for many calls, until something trains."""
        read = self._reading([member])
        return lambda tokens, cache: read(tokens.to(self.device)[None], cache)[0].cpu()

    def _reading(self, members: Sequence[Member]) -> StackReading:
        """The same of a stack of members, which stand in this trainer's order, on its device."""
        rows = [self.members.index(member) for member in members]
        theta = self._rows.theta[rows[0] : rows[0] + 1] if len(rows) == 1 else self._rows.theta[rows]
        views = self.layout.split(theta)
        lanes = [Settled(lane.variant, lane.rows, lane.scalars, lane.amounts) for lane in self._lanes(list(members))]

        def read(tokens: Tensor, cache: Cache | None) -> Tensor:
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                return forward(views, tokens, self._shared, lanes, cache=cache).float()

        return read

    def write(self, members: Sequence[Member]) -> None:
        """Let members write windows as they are now, of which a share of their next batches is made (`feedback_share`).
        `step` does when they are due."""
        write(members, self.corpus, self._reading, self.device)

    def rows(self) -> Tensor:
        """A copy of the parameters of all members, (K, P), one row each in the order of `members`."""
        return self._rows.theta.clone()

    def gradients(self) -> Tensor:
        """The gradient of every member on the batch of its next iteration, before clipping: (K, P), as `rows`.

        Training is not affected. It is computed as in eager mode, and costs as much as an iteration.
        """
        pools = [member.pool for member in self.members]
        batch = next(self._batches(1))
        for member, pool in zip(self.members, pools, strict=True):  # what was written here may be written anew
            member.pool = pool
        return self._eager.gradient(self._rows.theta, batch, self._lanes(), self._dropout())[1]

    @property
    def arithmetic(self) -> str:
        """How numbers are computed, in words: on one machine, equal configurations of equal arithmetic train alike."""
        matmul = f"{current_route()} matmul" if self.device.type == "cpu" else self.device.type
        threads = torch.get_num_threads()
        shared = f", {threads} threads" if self.device.type == "cpu" and threads > 1 else ""
        return f"{self._way.name}, {'bf16' if self.bf16 else 'fp32'}, {matmul}{shared}"

    def arithmetic_of(self, member: Member) -> str:
        """The same of a member, after the ways that it was trained in before it came here, if those were others."""
        if member.before.rpartition(THEN)[2] in ("", self.arithmetic):
            return member.before or self.arithmetic
        return f"{member.before}{THEN}{self.arithmetic}"

    def learnables(self, member: Member) -> dict[str, Tensor]:
        """The learnables that SGD moves, by field name: (L, H) or (L, 1), as values (γ, not ln γ); of one of n numbers
        their mean."""
        return {name: values[0] for name, values in self.learnables_of([member]).items()}

    def learnables_of(self, members: Sequence[Member]) -> dict[str, Tensor]:
        """The same of members of one code path, (k, L, H) or (k, L, 1)."""
        rows = [self.members.index(member) for member in members]
        columns = self._rows.theta[rows, self.layout.spans["scalar"]].cpu()
        values = self._learnables(members[0], columns)
        return {name: value if value.dim() == 3 else value.mean(-1) for name, value in values.items()}

    # ------------------------------------------------------------------------------------------------------- inside

    def _insert(self, member: Member, own: Rows) -> Member:
        if member.config.bucket != self.bucket:
            ours = dict(self.bucket)
            name, value = next((n, v) for n, v in member.config.bucket if ours.get(n) != v)
            raise TunemaxError(
                f"{name} = {value}: members stacked here have {ours[name]}; train this configuration in another trainer"
            )
        paths = [other.config.code_path for other in self.members]
        path = member.config.code_path
        row = len(paths) - paths[::-1].index(path) if path in paths else len(paths)
        with held_back():
            self._rows = self._rows.inserted(row, own)
            self.members.insert(row, member)
        return member

    def _lanes(self, members: list[Member] | None = None) -> list[Lane]:
        lanes, row = [], 0
        chosen = self.members if members is None else members
        for _, group in itertools.groupby(chosen, key=lambda member: member.config.code_path):
            of_lane = list(group)
            variant = of_lane[0].config.softmax
            scalars, on = {}, {}
            for spec in type(variant).specs():
                name = spec.name.rpartition(".")[2]
                if spec.is_scalar and name not in variant.learned():
                    values = [member.values.get(spec.name, spec.default) for member in of_lane]
                    tensor = torch.tensor(values, dtype=self._rows.theta.dtype, device=self.device)
                    scalars[name] = tensor.view(-1, 1, 1, 1, 1)
            for name in self._amounts:
                amounts = [member.values.get(name, all_specs()[name].default) for member in of_lane]
                on[name] = torch.tensor(amounts, dtype=self._rows.theta.dtype, device=self.device)
            lanes.append(Lane(variant, slice(row, row + len(of_lane)), scalars, on))
            row += len(of_lane)
        return lanes

    def _batches(self, n: int) -> Iterator[Tensor]:
        """Each member's own next windows, (K, B, T + 1), n times."""
        batches = self._of_text(n)
        return fed(batches, self.members, self.write) if any(map(feeds, self.members)) else batches

    def _of_text(self, n: int) -> Iterator[Tensor]:
        """The same as far as they are of the text."""
        T, members = self.model.block_size, [(member.config.train, member.iteration) for member in self.members]
        drawn = [[self.offsets(train, start + i) for train, start in members] for i in range(n)]
        offsets = torch.from_numpy(np.array(drawn)).to(self.device)  # (n, K, B); a copy a step would make it wait
        within = torch.arange(T + 1, device=self.device)
        for now in offsets:
            if self._on_device is None:
                yield torch.from_numpy(self.corpus.at(now.numpy(), T))
            else:
                yield self._on_device[now[..., None] + within].long()

    def _dropout(self) -> Dropout | None:
        rates = [float(member.values["dropout"]) for member in self.members]
        seeds, iterations = [m.config.train.seed for m in self.members], [m.iteration for m in self.members]
        return Dropout(rates, seeds, iterations) if any(rates) else None

    def _note(self, trace: Tensor) -> None:
        """Note what went wrong in losses, norms and learnable columns (n, K, 2 + columns) of the last iterations."""
        for row, member in enumerate(self.members):
            loss, norm, columns = trace[:, row, 0], trace[:, row, 1], trace[:, row, 2:]
            member.train_loss, member.grad_norm = float(loss.mean()), float(norm[-1])
            if member.event is None:
                learnables = self._learnables(member, columns)
                member.event = first_event(member.config, self.corpus, member.iteration, loss, norm, learnables)
                cap, begin = divergence_cap(member.config, self.corpus), member.iteration - len(loss)
                member.stability = spiked(member.stability, cap, begin, loss)

    def _learnables(self, member: Member, columns: Tensor) -> dict[str, Tensor]:
        """The learnables that SGD moves, (..., L, H or 1), or (..., L, H or 1, n) of one of n numbers, from learnable
        columns (..., columns)."""
        forms, used = member.config.softmax.learned(), partial(self.layout.learnable, columns, member.config)
        return {name: from_column(used(name), form) for name, form in forms.items()}
