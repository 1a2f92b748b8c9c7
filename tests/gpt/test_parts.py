"""The contract of the parts of a model: whatever is registered, in each of its settings and together with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import plain_model
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tunemax.gpt.cache import Cache
from tunemax.gpt.checkpoint import load, save
from tunemax.gpt.compile import step
from tunemax.gpt.config import PARTS, Config, all_specs
from tunemax.gpt.cost import Cost
from tunemax.gpt.data import Corpus
from tunemax.gpt.fields import Choices, FieldSpec, Range
from tunemax.gpt.parts import specs_of_kinds
from tunemax.gpt.probe import probe
from tunemax.gpt.random import generator
from tunemax.gpt.sample import Choice, chosen, decisive, generate
from tunemax.gpt.snapshot import Snapshot
from tunemax.gpt.softmax import variants
from tunemax.gpt.trainer import Member, Trainer

Make = Callable[..., Config]
Same = Callable[[Snapshot, Snapshot], None]
Setting = dict[str, Any]

TINY: Setting = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 12, "batch_size": 3, "eval_tokens": 512}
CONSTANTMAX: Setting = {"softmax_variant": "constantmax", "constantmax.sharing": "head", "constantmax.gamma": 5.0}
TOGETHER: list[Setting] = [
    {"attention": "fractal", "n_head": 3, "head_dim": 8, "position": "rotary", "norm": "rms", "mlp": "swiglu"},
    {"attention": "fractal", "n_kv_head": 2, "position": "alibi", "window": 5, "attention_sink": True, "bias": True},
    {"attention": "fractal", "qk_norm": "l2", "qk_norm_scale": True, **CONSTANTMAX},
    {"attention": "multi_query", "qk_norm": "rms", "qk_norm_scale": True, "norm_position": "peri", "norm": "rms",
     "mlp": "relu2", "position": "rotary"},
    {"attention": "grouped_query", "n_head": 4, "n_kv_head": 2, "v_norm": "l2", "position": "alibi", "mlp": "reglu",
     "norm_position": "post", "bias": True, "tie_weights": False},
    {"norm_position": "peri", "bias": True, "mlp": "geglu", "mlp_ratio": 2.0, "logit_softcap": 3.0, "z_loss": 0.01},
    {"norm": "none", "position": "none", "mlp": "silu", "window": 1},
    {"head_dim": 6, "position": "rotary", "rope_base": 100.0, "rope_share": 2 / 3, "mlp": "relu", **CONSTANTMAX},
    {"parametrisation": "mup", "mup_base_width": 4, "mup_input_scale": 2.0, "mup_output_scale": 0.5, "qk_norm": "rms",
     "qk_norm_scale": True, "attention_sink": True, "position": "alibi", "tie_weights": False, "optimizer": "muon"},
    {"parametrisation": "mup", "mup_base_width": 4, "qk_norm": "l2", "attention": "fractal", "n_embd": 24,
     "optimizer": "lion", "mlp": "swiglu"},
    {"parametrisation": "mup", "mup_base_width": 4, "mup_base_head_width": 2, "head_dim": 8, "attention": "multi_query",
     "norm_position": "peri", "optimizer": "muon", "muon_scale": "spectral"},
]  # fmt: skip


def ends(spec: FieldSpec) -> tuple[Any, Any]:
    """Of what is searched."""
    search = spec.declared.search
    if isinstance(search, Choices):
        return search.values[0], search.values[-1]
    assert isinstance(search, Range), f"{spec.name}: say what is searched"
    return search.low, search.high


def settings() -> dict[str, Setting]:
    """Each kind, ends of each field of one, the numbers that 0 switches off, and some of all together."""
    found: list[Setting] = []
    for family in PARTS.values():
        if family.field == "softmax_variant":  # which have a contract of their own
            continue
        found += [{family.field: name} for name in family.kinds()]
        for spec in specs_of_kinds(family):
            chosen = {name: allowed[0] for name, allowed in spec.when.items() if isinstance(allowed, tuple)}
            for value in dict.fromkeys(ends(spec)):
                if value != spec.declared.neutral:
                    found.append({**chosen, spec.name: value})
    found += [{"norm_position": position} for position in ("post", "peri")]
    for name, spec in all_specs().items():
        if spec.declared.switch:
            found.append({name: ends(spec)[1] / 5})
    return {
        ", ".join(f"{name}={value}" for name, value in one.items()) or "plain": one for one in [{}, *found, *TOGETHER]
    }


SETTINGS = settings()
every_setting = pytest.mark.parametrize("fields", SETTINGS.values(), ids=SETTINGS)
TRACED = [
    *TOGETHER,
    *({family.field: kind} for family in PARTS.values() for kind in family.kinds()
      if family.field != "softmax_variant" and not any(fields.get(family.field) == kind for fields in TOGETHER)
      and kind != all_specs()[family.field].default),
]  # fmt: skip
"""Settings in which every kind comes once."""


@pytest.fixture
def make(small: Make) -> Make:
    return lambda **fields: small(**{**TINY, **fields})


def alone(config: Config, corpus: Corpus, steps: int, dtype: torch.dtype = torch.float32) -> tuple[Trainer, Member]:
    trainer = Trainer(config, corpus, dtype)
    member = trainer.add(config)
    trainer.step(steps)
    return trainer, member


def weights_of(trainer: Trainer, row: int) -> dict[str, Tensor]:
    return {name: view[row] for name, view in trainer.layout.split(trainer.rows()).items()}


@every_setting
def test_losses_and_gradients_are_those_of_a_plain_model(fields: Setting, make: Make, corpus: Corpus) -> None:
    config = make(**fields, n_layer=1, learning_rate=0.05)
    trainer, _ = alone(config, corpus, 3, torch.float64)  # away from the start, where much is 0 or 1
    trainer.add(config.replace({"seed": 2}))
    tokens = torch.randint(corpus.manifest.vocab_size, (2, 1, 13), generator=generator(1, "tokens"))
    theta = trainer.rows()
    loss, grad = trainer._way.gradient(theta, tokens, trainer._lanes(), None)
    for row in range(2):
        leaf = theta[row].clone().requires_grad_()
        expected = plain_model.minimised(trainer.layout.split(leaf), config, tokens[row])
        (gradient,) = torch.autograd.grad(expected, leaf)
        if not config.train.z_loss:
            torch.testing.assert_close(loss[row], expected.detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(grad[row], gradient, rtol=0, atol=1e-12)
        assert gradient.norm() > 1e-3


@every_setting
def test_a_stack_equals_separate_runs(fields: Setting, make: Make, corpus: Corpus, assert_same: Same) -> None:
    """With two softmax variants in it, dropout, and odd sizes, which shift what lies where in memory."""
    odd = {"n_embd": 24, "block_size": 17, "batch_size": 5} | fields
    numbers = {"logit_softcap": 7.0, "z_loss": 0.5}
    others = {name: value for name, value in numbers.items() if fields.get(name)}
    variant = {} if "softmax_variant" in fields or "attention_sink" in fields else CONSTANTMAX
    configs = [make(**odd), make(**{**odd, **variant, **others}, seed=2, dropout=0.2), make(**odd, seed=3)]
    stacked = Trainer(configs[0], corpus)
    members = [stacked.add(config) for config in configs]
    stacked.step(3)
    losses = stacked.evaluate()
    for config, member in zip(configs, members, strict=True):
        solo, of_it = alone(config, corpus, 3)
        assert_same(stacked.snapshot(member), solo.snapshot(of_it))
        assert losses[member] == solo.evaluate()[of_it]


@every_setting
def test_a_member_goes_on_from_a_file_as_if_never_disturbed(
    fields: Setting, make: Make, corpus: Corpus, assert_same: Same, tmp_path: Any
) -> None:
    trainer, member = alone(make(**fields), corpus, 2)
    save(trainer.snapshot(member), tmp_path / "member", "text")
    fork = trainer.restore(trainer.snapshot(member))
    other = Trainer(member.config, corpus)
    resumed = other.restore(load(tmp_path / "member", "text"))
    trainer.step(2)
    other.step(2)
    assert resumed.config == member.config
    assert_same(trainer.snapshot(member), trainer.snapshot(fork))
    assert_same(trainer.snapshot(member), other.snapshot(resumed))


@pytest.mark.parametrize("fields", TRACED, ids=str)
def test_what_is_compiled_is_what_eager_mode_computes(
    fields: Setting, make: Make, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph as it is handed to the compiler, in float64."""
    monkeypatch.setattr(step, "compiled", lambda key, trace: trace()[0])
    monkeypatch.setattr(step, "_known", {})
    snapshots, evaluated = [], []
    for compiled in (False, True):
        configs = [make(**fields, n_layer=1, compile=compiled, seed=seed) for seed in (1, 2)]
        trainer = Trainer(configs[0], corpus, torch.float64)
        members = [trainer.add(config) for config in configs]
        trainer.step(2)
        snapshots.append([trainer.snapshot(member).tensors for member in members])
        evaluated.append([trainer.evaluate()[member] for member in members])
        assert trainer.arithmetic.startswith("compiled, " if compiled else "eager, ")
    assert evaluated[1] == pytest.approx(evaluated[0], abs=1e-10)
    for eager, other in zip(*snapshots, strict=True):
        for name, tensor in eager.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-9, atol=1e-9)


@every_setting
def test_a_prediction_depends_on_no_later_token_and_on_those_in_reach(
    fields: Setting, make: Make, corpus: Corpus
) -> None:
    config = make(**fields)
    trainer, member = alone(config, corpus, 2)
    tokens = torch.randint(corpus.manifest.vocab_size, (1, 12), generator=generator(1, "tokens"))
    changed = tokens.clone()
    changed[0, 4] = (tokens[0, 4] + 1) % corpus.manifest.vocab_size
    one, other = (trainer.logits(member, given)[0] for given in (tokens, changed))
    differs = (one != other).any(-1)
    reach = config.model.n_layer * (config.flat()["window"] - 1)  # of a layer upon a layer
    assert not differs[:4].any()
    assert differs[4 : 5 + reach].all()
    assert not differs[5 + reach :].any()


@every_setting
def test_parameters_and_operations_are_counted(fields: Setting, make: Make, corpus: Corpus) -> None:
    config, vocab = make(**fields), corpus.manifest.vocab_size
    trainer, member = alone(config, corpus, 1)
    cost = Cost.of(config, vocab)
    weights = [tensor for name, tensor in trainer.snapshot(member).tensors.items() if name.startswith("theta/")]
    assert cost.parameters == sum(tensor.numel() for tensor in weights)
    tokens = torch.zeros(config.train.batch_size, config.model.block_size, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        trainer.logits(member, tokens)
    assert counter.get_total_flops() == cost.flops / 3  # a third of them is forward


@every_setting
def test_text_is_continued_from_any_length(fields: Setting, make: Make, corpus: Corpus) -> None:
    trainer, member = alone(make(**fields), corpus, 1)
    for length in (1, 3, 30):
        text = generate(trainer, member, np.arange(length) % 10, 3, count=2, seed=1)
        assert text.shape == (2, 3)
        assert np.array_equal(text, generate(trainer, member, np.arange(length) % 10, 3, count=2, seed=1))


VARIANTS: list[Setting] = [
    *({"softmax_variant": name} for name in variants()),
    {**CONSTANTMAX, "constantmax.base": 2.0, "constantmax.learn_gamma": False, "attention": "fractal"},
    {"softmax_variant": "strongermax", "strongermax.obo": 1.0, "strongermax.learn_obo": True, "window": 5},
    {"softmax_variant": "strongermax", "strongermax.divide_by_sum": False, "strongermax.maximum": "guess"},
    {"softmax_variant": "polymax", "polymax.div_by_seq_len": True, "window": 3, "position": "rotary"},
]


@pytest.mark.parametrize("fields", [*SETTINGS.values(), *VARIANTS], ids=[*SETTINGS, *map(str, VARIANTS)])
def test_a_text_is_read_in_parts_as_it_is_read_whole(fields: Setting, make: Make, corpus: Corpus) -> None:
    trainer, member = alone(make(**fields, learning_rate=0.02), corpus, 5)
    trainer.add(member.config.replace({"seed": 2}))
    tokens = torch.randint(corpus.manifest.vocab_size, (2, 12), generator=generator(1, "tokens"))
    reading, cache = trainer.reading(member), Cache(12)
    parts = [reading(part, cache) for part in tokens.split([4, 1, 1, 5, 1], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), trainer.logits(member, tokens), rtol=1e-4, atol=1e-5)
    one = Cache(12)
    reading(tokens[:1, :11], one)
    one.spread(2)
    (_, last) = reading(tokens[:1, 11:].expand(2, -1), one)
    torch.testing.assert_close(last, parts[-1][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fields", [*SETTINGS.values(), *VARIANTS], ids=[*SETTINGS, *map(str, VARIANTS)])
def test_a_text_goes_on_as_if_the_context_was_read_anew_for_each_token(
    fields: Setting, make: Make, corpus: Corpus
) -> None:
    """Beyond the context, too, where a cache may not know what has left it."""
    trainer, member = alone(make(**fields, learning_rate=0.02), corpus, 5)
    drawn = generate(trainer, member, np.arange(7), 24, count=2, seed=1)
    draws = [generator(1, "sample", number) for number in range(2)]
    text = torch.arange(7).expand(2, -1)
    for _ in range(24):
        seen = text[:, -12:]
        text = torch.cat((text, chosen(trainer.logits(member, seen)[:, -1], seen, Choice(), draws)), dim=1)
    assert drawn.tolist() == text[:, 7:].tolist()


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, 12),
        ({"window": 3}, 12),  # the table of places knows where a token stands
        ({"window": 3, "position": "rotary"}, 5),
        ({"window": 3, "position": "alibi", "n_layer": 4}, 9),
        ({"window": 1, "position": "none"}, 1),
        ({"window": 9, "position": "none"}, 12),
        ({"position": "rotary"}, 12),
    ],
    ids=str,
)
def test_a_moving_context_is_read_anew_as_far_as_it_matters(fields: Setting, kept: int, make: Make) -> None:
    assert decisive(make(**fields)) == kept


@every_setting
def test_it_trains_in_bf16(fields: Setting, make: Make, corpus: Corpus) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        trainer, member = alone(make(**fields, precision=precision), corpus, 8)
        losses.append(trainer.evaluate()[member])
    assert losses[1] == pytest.approx(losses[0], abs=0.02)


@every_setting
def test_each_head_is_measured(fields: Setting, make: Make, corpus: Corpus) -> None:
    config = make(**fields, tensorboard_histograms=True)
    trainer, member = alone(config, corpus, 1)
    measured = probe(trainer)[member]
    heads = (config.model.n_layer, config.model.n_head)
    assert measured.row_max.shape == measured.denominator.shape == heads
    assert measured.weights is not None
    assert measured.weights.shape[:2] == heads
    if config.softmax.name == "softmax":
        torch.testing.assert_close(measured.row_sum, torch.ones(heads))


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
def test_attention_kinds_can_be_compared_at_equal_parameters(mlp: str) -> None:
    kinds = [{"attention": name} for name in PARTS["attention"].kinds()]
    kinds += [{"attention": "grouped_query", "n_kv_head": 2}, {"attention": "multi_query", "head_dim": 64}]
    costs = [Cost.of(Config.of({"mlp": mlp, "mlp_compensates": True, **kind}), 256) for kind in kinds]
    plain = Cost.of(Config.of({"mlp": mlp}), 256)
    within = 0.0 if mlp == "gelu" else 0.01  # a gated MLP's width is a multiple of four
    assert [cost.parameters for cost in costs] == pytest.approx([plain.parameters] * len(costs), rel=within)
    assert len({Cost.of(Config.of({"mlp": mlp, **kind}), 256).parameters for kind in kinds}) > 1


@pytest.mark.parametrize(
    ("fields", "inert"),
    [
        ({"norm": "none"}, {"norm_position": "post"}),
        ({"qk_norm": "none"}, {"qk_norm_scale": True}),
        ({"softmax_variant": "constantmax"}, {"attention_sink": True}),
        ({"softmax_variant": "polymax"}, {"attention_sink": True}),
        ({"softmax_variant": "strongermax", "strongermax.divide_by_sum": False}, {"attention_sink": True}),
        ({"attention": "multi_head"}, {"n_kv_head": 2}),
        ({"attention": "grouped_query"}, {"fractal_split": 4}),
        ({"position": "learned"}, {"rope_base": 50.0, "rope_share": 0.5}),
    ],
    ids=str,
)
def test_what_means_nothing_is_dropped(fields: Setting, inert: Setting, make: Make) -> None:
    plain, more = make(**fields), make(**fields, **inert)
    assert plain == more
    assert (plain.identity, plain.bucket) == (more.identity, more.bucket)


@pytest.mark.parametrize(
    ("fields", "identity"),
    [
        ({}, "489f65383f8659a0"),
        ({"position": "rotary", "norm_position": "post", "bias": True}, "78a609a791ee661c"),
        ({"softmax_variant": "constantmax", "constantmax.gamma": 80, "n_layer": 2}, "4c151bd8458759d9"),
    ],
)
def test_configurations_of_before_are_known(fields: Setting, identity: str) -> None:
    """As they were before there were parts to choose from."""
    assert Config.of(fields).identity == identity


def test_the_bias_of_a_far_key_is_exact_in_bf16() -> None:
    """Which has eight bits: the place of token 257 is none of its numbers."""
    biases = PARTS["position"].find("alibi")().biases(2, 0, 600, torch.zeros(1, dtype=torch.bfloat16))
    far = torch.arange(600.0) - 599
    torch.testing.assert_close(biases[:, -1], torch.stack((far / 2**4, far / 2**8)), rtol=0, atol=0)
