"""What every part of a model promises where it is trained. A promise takes the fields that choose it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from tunemax.gpt.cache import Cache
from tunemax.gpt.checkpoint import load, save
from tunemax.gpt.compile import step
from tunemax.gpt.config import Config
from tunemax.gpt.cost import Cost
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Choices, FieldSpec, Range, specs_of
from tunemax.gpt.parts import Part
from tunemax.gpt.plugins.global_rng import GlobalRng
from tunemax.gpt.probe import probe
from tunemax.gpt.random import generator
from tunemax.gpt.sample import Choice, chosen, generate
from tunemax.gpt.testing.tiny import assert_same, corpus, small, trained
from tunemax.gpt.trainer import Trainer

Setting = dict[str, Any]

TINY: Setting = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 12, "batch_size": 3, "eval_tokens": 512}
CONSTANTMAX: Setting = {"softmax_variant": "constantmax", "constantmax.sharing": "head", "constantmax.gamma": 5.0}
BESIDE: tuple[Setting, ...] = (
    {"attention": "multi_query", "qk_norm": "rms", "norm_position": "peri", "mlp": "swiglu", "position": "rotary"},
    {"attention": "fractal", "norm": "rms", "position": "alibi", "bias": True, "tie_weights": False, **CONSTANTMAX},
)
"""Other parts that a new one has to go together with."""


def make(**fields: Any) -> Config:
    return small(**{**TINY, **fields})


def ends(spec: FieldSpec) -> tuple[Any, Any]:
    """Of what is searched."""
    search = spec.declared.search
    if isinstance(search, Choices):
        return search.values[0], search.values[-1]
    assert isinstance(search, Range), f"{spec.name}: say what is searched"
    return search.low, search.high


def of_fields(specs: Iterable[FieldSpec]) -> Iterator[Setting]:
    """Both ends of each field, with what it means something beside."""
    for spec in specs:
        chosen = {name: allowed[0] for name, allowed in spec.when.items() if isinstance(allowed, tuple)}
        for value in dict.fromkeys(ends(spec)):
            if value != spec.declared.neutral:
                yield {**chosen, spec.name: value}


def settings_of(kind: type[Part]) -> dict[str, Setting]:
    """A kind by itself, with the ends of its fields, and beside other parts; what it cannot be combined with is left
    out. The fields of a variant stay at their defaults here."""
    chosen = {kind.field: kind.name}
    fields = [] if kind.by_member else specs_of(kind, kind.group)
    found = [*({**one, **chosen} for one in of_fields(fields)), *({**others, **chosen} for others in BESIDE)]
    return {label(one): one for one in [chosen, *filter(_possible, found)]}


def _possible(fields: Setting) -> bool:
    try:
        make(**fields)
    except TunemaxError:
        return False
    return True


def label(fields: Setting) -> str:
    return ", ".join(f"{name}={value}" for name, value in fields.items()) or "plain"


# ---------------------------------------------------------------------------------------------------------- promises


def a_stack_equals_separate_runs(fields: Setting) -> None:
    """Bit for bit; with two softmax variants in it, dropout, and odd sizes, which shift what lies where in memory."""
    odd = {"n_embd": 24, "block_size": 17, "batch_size": 5} | fields
    numbers = {"logit_softcap": 7.0, "z_loss": 0.5}
    others = {name: value for name, value in numbers.items() if fields.get(name)}
    variant = {} if "softmax_variant" in fields or "attention_sink" in fields else CONSTANTMAX
    configs = [make(**odd), make(**{**odd, **variant, **others}, seed=2, dropout=0.2), make(**odd, seed=3)]
    stacked = Trainer(configs[0], corpus())
    members = [stacked.add(config) for config in configs]
    stacked.step(3)
    losses = stacked.evaluate()
    for config, member in zip(configs, members, strict=True):
        solo, of_it = trained(config, 3)
        assert_same(stacked.snapshot(member), solo.snapshot(of_it))
        assert losses[member] == solo.evaluate()[of_it]


def a_member_goes_on_from_a_file_as_if_never_disturbed(fields: Setting) -> None:
    """A checkpoint has all that there is to know of it."""
    trainer, member = trained(make(**fields), 2)
    with tempfile.TemporaryDirectory() as folder:
        save(trainer.snapshot(member), Path(folder) / "member", "text")
        saved = load(Path(folder) / "member", "text")
    fork = trainer.restore(trainer.snapshot(member))
    other = Trainer(member.config, corpus())
    resumed = other.restore(saved)
    trainer.step(2)
    other.step(2)
    assert resumed.config == member.config
    assert_same(trainer.snapshot(member), trainer.snapshot(fork))
    assert_same(trainer.snapshot(member), other.snapshot(resumed))


def what_is_compiled_is_what_eager_mode_computes(fields: Setting) -> None:
    """The graph as it is handed to the compiler, in float64."""
    snapshots, evaluated = [], []
    with patch.object(step, "compiled", lambda key, trace: trace()[0]), patch.object(step, "_known", {}):
        for compiled in (False, True):
            configs = [make(**fields, n_layer=1, compile=compiled, seed=seed) for seed in (1, 2)]
            trainer = Trainer(configs[0], corpus(), torch.float64)
            members = [trainer.add(config) for config in configs]
            trainer.step(2)
            snapshots.append([trainer.snapshot(member).tensors for member in members])
            evaluated.append([trainer.evaluate()[member] for member in members])
            assert trainer.arithmetic.startswith("compiled, " if compiled else "eager, ")
    np.testing.assert_allclose(evaluated[1], evaluated[0], rtol=0, atol=1e-10)
    for eager, other in zip(*snapshots, strict=True):
        for name, tensor in eager.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-9, atol=1e-9)


def a_prediction_depends_on_no_later_token_and_on_those_in_reach(fields: Setting) -> None:
    """Nothing sees the future; within the window of attention all is seen."""
    config = make(**fields)
    trainer, member = trained(config, 2)
    vocabulary = corpus().manifest.vocab_size
    tokens = torch.randint(vocabulary, (1, 12), generator=generator(1, "tokens"))
    changed = tokens.clone()
    changed[0, 4] = (tokens[0, 4] + 1) % vocabulary
    one, other = (trainer.logits(member, given)[0] for given in (tokens, changed))
    differs = (one != other).any(-1)
    reach = config.model.n_layer * (config.flat()["window"] - 1)  # of a layer upon a layer
    assert not differs[:4].any()
    assert differs[4 : 5 + reach].all()
    assert not differs[5 + reach :].any()


def parameters_and_operations_are_counted(fields: Setting) -> None:
    """As many as the model has and does."""
    config, vocab = make(**fields), corpus().manifest.vocab_size
    trainer, member = trained(config, 1)
    cost = Cost.of(config, vocab)
    weights = [tensor for name, tensor in trainer.snapshot(member).tensors.items() if name.startswith("theta/")]
    assert cost.parameters == sum(tensor.numel() for tensor in weights)
    tokens = torch.zeros(config.train.batch_size, config.model.block_size, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        trainer.logits(member, tokens)
    assert counter.get_total_flops() == cost.flops / 3  # a third of them is forward


def text_is_continued_from_any_length(fields: Setting) -> None:
    """Also beyond the context; the same seed writes the same."""
    trainer, member = trained(make(**fields), 1)
    for length in (1, 3, 30):
        text = generate(trainer, member, np.arange(length) % 10, 3, count=2, seed=1)
        assert text.shape == (2, 3)
        assert np.array_equal(text, generate(trainer, member, np.arange(length) % 10, 3, count=2, seed=1))


def a_text_is_read_in_parts_as_it_is_read_whole(fields: Setting) -> None:
    trainer, member = trained(make(**fields, learning_rate=0.02), 5)
    trainer.add(member.config.replace({"seed": 2}))
    tokens = torch.randint(corpus().manifest.vocab_size, (2, 12), generator=generator(1, "tokens"))
    reading, cache = trainer.reading(member), Cache(12)
    parts = [reading(part, cache) for part in torch.split(tokens, [4, 1, 1, 5, 1], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), trainer.logits(member, tokens), rtol=1e-4, atol=1e-5)
    one = Cache(12)
    reading(tokens[:1, :11], one)
    one.spread(2)
    (_, last) = reading(tokens[:1, 11:].expand(2, -1), one)
    torch.testing.assert_close(last, parts[-1][0], rtol=1e-4, atol=1e-5)


def a_text_goes_on_as_if_the_context_was_read_anew_for_each_token(fields: Setting) -> None:
    """Beyond the context, too, where a cache may not know what has left it."""
    trainer, member = trained(make(**fields, learning_rate=0.02), 5)
    drawn = generate(trainer, member, np.arange(7), 24, count=2, seed=1)
    draws = [generator(1, "sample", number) for number in range(2)]
    text = torch.arange(7).expand(2, -1)
    for _ in range(24):
        seen = text[:, -12:]
        text = torch.cat((text, chosen(trainer.logits(member, seen)[:, -1], seen, Choice(), draws)), dim=1)
    assert drawn.tolist() == text[:, 7:].tolist()


def it_trains_in_bf16(fields: Setting) -> None:
    """To about the same loss."""
    losses = []
    for precision in ("fp32", "bf16"):
        trainer, member = trained(make(**fields, precision=precision), 8)
        losses.append(trainer.evaluate()[member])
    assert abs(losses[1] - losses[0]) <= 0.02


def each_head_is_measured(fields: Setting) -> None:
    """Row maxima, denominators and histograms of each layer and head."""
    config = make(**fields, tensorboard_histograms=True)
    trainer, member = trained(config, 1)
    measured = probe(trainer)[member]
    heads = (config.model.n_layer, config.model.n_head)
    assert measured.row_max.shape == measured.denominator.shape == heads
    assert measured.weights is not None
    assert measured.weights.shape[:2] == heads
    if config.softmax.name == "softmax":
        torch.testing.assert_close(measured.row_sum, torch.ones(heads))


def training_draws_nothing_from_a_global_generator(fields: Setting) -> None:
    """All randomness follows from the member's seed."""
    config = make(**fields, dropout=0.1)
    before = GlobalRng.now()
    one, member = trained(config, 2)
    assert before.moved() is None
    other, again = trained(config, 2)
    assert_same(one.snapshot(member), other.snapshot(again))


PROMISES: tuple[Callable[[Setting], None], ...] = (
    a_stack_equals_separate_runs,
    a_member_goes_on_from_a_file_as_if_never_disturbed,
    a_prediction_depends_on_no_later_token_and_on_those_in_reach,
    parameters_and_operations_are_counted,
    text_is_continued_from_any_length,
    a_text_is_read_in_parts_as_it_is_read_whole,
    a_text_goes_on_as_if_the_context_was_read_anew_for_each_token,
    it_trains_in_bf16,
    each_head_is_measured,
    training_draws_nothing_from_a_global_generator,
)
"""In every setting."""
TRACED = (what_is_compiled_is_what_eager_mode_computes,)
"""With each kind once: to trace a graph takes seconds."""
