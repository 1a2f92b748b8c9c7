"""The contract of the parts of a model: whatever is registered, in each of its settings and together with others."""

from __future__ import annotations

from collections.abc import Callable

import plain_model
import pytest
import torch

from tunemax.gpt.config import PARTS, Config, all_specs
from tunemax.gpt.cost import Cost
from tunemax.gpt.parts import specs_of_kinds
from tunemax.gpt.random import generator
from tunemax.gpt.sample import decisive
from tunemax.gpt.softmax import variants
from tunemax.gpt.testing.parts import (
    CONSTANTMAX,
    PROMISES,
    TRACED,
    Setting,
    a_text_goes_on_as_if_the_context_was_read_anew_for_each_token,
    a_text_is_read_in_parts_as_it_is_read_whole,
    ends,
    label,
    make,
    of_fields,
)
from tunemax.gpt.testing.tiny import corpus, trained

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


def settings() -> dict[str, Setting]:
    """Each kind, ends of each field of one, the numbers that 0 switches off, and some of all together."""
    found: list[Setting] = []
    for family in PARTS.values():
        if family.field == "softmax_variant":  # which have a contract of their own
            continue
        found += [*({family.field: name} for name in family.kinds()), *of_fields(specs_of_kinds(family))]
    found += [{"norm_position": position} for position in ("post", "peri")]
    for name, spec in all_specs().items():
        if spec.declared.switch:
            found.append({name: ends(spec)[1] / 5})
    return {label(one): one for one in [{}, *found, *TOGETHER]}


SETTINGS = settings()
every_setting = pytest.mark.parametrize("fields", SETTINGS.values(), ids=SETTINGS)
EACH_KIND = [
    *TOGETHER,
    *({family.field: kind} for family in PARTS.values() for kind in family.kinds()
      if family.field != "softmax_variant" and not any(fields.get(family.field) == kind for fields in TOGETHER)
      and kind != all_specs()[family.field].default),
]  # fmt: skip
"""Settings in which every kind comes once."""


@every_setting
def test_losses_and_gradients_are_those_of_a_plain_model(fields: Setting) -> None:
    config = make(**fields, n_layer=1, learning_rate=0.05)
    trainer, _ = trained(config, 3, torch.float64)  # away from the start, where much is 0 or 1
    trainer.add(config.replace({"seed": 2}))
    tokens = torch.randint(corpus().manifest.vocab_size, (2, 1, 13), generator=generator(1, "tokens"))
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
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_it_keeps_what_every_part_promises(promise: Callable[[Setting], None], fields: Setting) -> None:
    promise(fields)


VARIANTS: list[Setting] = [
    *({"softmax_variant": name} for name in variants()),
    {**CONSTANTMAX, "constantmax.base": 2.0, "constantmax.learn_gamma": False, "attention": "fractal"},
    {"softmax_variant": "strongermax", "strongermax.obo": 1.0, "strongermax.learn_obo": True, "window": 5},
    {"softmax_variant": "strongermax", "strongermax.divide_by_sum": False, "strongermax.maximum": "guess"},
    {"softmax_variant": "polymax", "polymax.div_by_seq_len": True, "window": 3, "position": "rotary"},
]


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_with_each_variant_a_text_is_read_in_parts_and_goes_on(fields: Setting) -> None:
    a_text_is_read_in_parts_as_it_is_read_whole(fields)
    a_text_goes_on_as_if_the_context_was_read_anew_for_each_token(fields)


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
def test_a_moving_context_is_read_anew_as_far_as_it_matters(fields: Setting, kept: int) -> None:
    assert decisive(make(**fields)) == kept


@pytest.mark.long
@pytest.mark.parametrize("fields", EACH_KIND, ids=str)
@pytest.mark.parametrize("promise", TRACED, ids=lambda promise: promise.__name__)
def test_each_kind_keeps_what_takes_seconds(promise: Callable[[Setting], None], fields: Setting) -> None:
    promise(fields)


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
        ({"optimizer": "adamw"}, {"momentum": 0.5, "nesterov": False}),
    ],
    ids=str,
)
def test_what_means_nothing_is_dropped(fields: Setting, inert: Setting) -> None:
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
