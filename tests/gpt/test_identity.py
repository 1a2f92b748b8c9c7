"""One training, one identity: whatever trains the same thing, bit for bit, is told apart nowhere; all else is.

Of every part all pairs of its fields are tried at the values at which a field may come to mean nothing: 0, false, the
ends of what is searched, the width that is there anyway. Each is trained from weights so large that whatever a field
does, it does there.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch

from tunemax.gpt.config import PARTS, Config, all_specs
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.feedback.fields import Feedback
from tunemax.gpt.fields import Choices, FieldSpec
from tunemax.gpt.random import generator
from tunemax.gpt.trainer import Trainer

Make = Callable[..., Config]
Setting = dict[str, Any]

TINY: Setting = {"n_layer": 1, "n_head": 2, "n_embd": 8, "block_size": 6, "batch_size": 2, "max_iters": 4}
SCALE = 1.0
"""Standard deviation of what is added to the initial weights."""
SPECIAL: dict[str, tuple[Any, ...]] = {
    "n_head": (1, 2),
    "n_embd": (8, 16),
    "head_dim": (0, 4, 8),
    "window": (3, 6, 7),
    "n_kv_head": (1, 2),
    "fractal_split": (2, 4),
    "mup_base_width": (4, 8),
    "mup_base_head_width": (0, 2, 4, 8),
    "mlp_ratio": (2.0, 3.4, 3.5, 4.0, 4.01),
    "rope_share": (0.01, 0.5, 0.5000000001, 1.0),
    "init_std": (0.0, 0.02, 0.8 / 8**0.5, 0.1),
    "warmup_fraction": (0.0, 0.5, 1.0),
    "decay_fraction": (0.0, 0.5, 1.0),
    "min_lr_ratio": (0.0, 0.5, 1.0),
    "polymax.x0": (-2.0, -0.5),
    "feedback_share": (0.0, 0.01, 0.1, 0.5),
    "feedback_every": (1, 2, 8),
    "feedback_pool": (1, 12),
    "feedback_prompt": (0.0, 0.5, 0.51, 0.99),
    "feedback_low": (0.0, 0.1, 0.3),
    "feedback_high": (0.4, 0.8, 1.0),
    "feedback_ngram": (1, 6),
    "saturating_constantmax.saturation": (2.0, 4.0),
    "strongermax.clamp": (False,),  # at a value that no logit reaches, it would do nothing here
    "strongermax.clamp_value": (0.5, 2.0),
}
"""Of fields whose special values are not the ends of what is searched."""
BESIDE: dict[str, list[Setting]] = {
    "attention": [{"position": "rotary"}],
    "position": [{"head_dim": 8}],
    "norm": [{"bias": True}, {"attention_sink": True}],
    "mlp": [{"attention": "multi_query"}],
    "softmax_variant": [
        {"n_head": 1},
        {"n_head": 1, "strongermax.learn_temperature": True},
        {"strongermax.clamp": True, "strongermax.clamp_value": 0.5},
    ],
    "optimizer": [{"tie_weights": False}],
}
"""What may be set beside a part and decide what means anything there."""
RATIOS = [
    "weight_decay",
    *(f"{role}_{what}_ratio" for role in ("input", "output", "vector") for what in ("lr", "decay")),
]
WITH: dict[str, list[str]] = {
    "attention": ["n_head"],
    "norm": ["norm_position", "vector_lr_ratio", "vector_decay_ratio"],
    "optimizer": ["weight_decay", "vector_lr_ratio", "vector_decay_ratio", "output_lr_ratio"],
}
"""Fields that belong to no part, and are tried with the part's own."""
SCALES = ["mup_base_head_width", "mup_input_scale", "mup_output_scale", "head_dim", "n_head", "qk_norm", "init_std"]
FED: Setting = {"feedback_share": 0.75, "feedback_every": 2, "feedback_pool": 12, "max_iters": 12, "batch_size": 4}
GROUPS: dict[str, tuple[list[str], list[Setting]]] = {
    "schedule": (["schedule", "warmup_fraction", "decay_fraction", "min_lr_ratio"], [{"max_iters": 8}]),
    "ratios": (RATIOS, [{"tie_weights": False, "bias": True}]),
    "feedback": (
        list(Feedback.model_fields),
        [
            {"max_iters": 8},
            FED,
            *({**FED, "feedback_filter": name, "feedback_ngram": 1} for name in ("likelihood", "novelty")),
        ],
    ),
    "mup": (SCALES, [{"parametrisation": "mup", "mup_base_width": width} for width in (4, 8)] + [{}]),
}
"""Fields that are tried with each other: their names, and what is set beside them."""


def special(spec: FieldSpec) -> tuple[Any, ...]:
    if spec.name in SPECIAL:
        return SPECIAL[spec.name]
    if spec.options:
        return spec.options
    search = spec.declared.search
    ends = search.values if isinstance(search, Choices) else (search.low, search.high) if search else ()
    return tuple(dict.fromkeys((spec.default, spec.annotation(0), *ends)))


def pairs(names: Iterable[str], beside: Setting) -> Iterator[Setting]:
    """Every pair of values of two of these fields."""
    yield beside
    specs = [all_specs()[name] for name in names if name not in beside]
    for one, other in itertools.combinations(specs, 2):
        for values in itertools.product(special(one), special(other)):
            yield {**beside, one.name: values[0], other.name: values[1]}


def settings(group: str) -> Iterator[Setting]:
    if group in GROUPS:
        names, besides = GROUPS[group]
        for beside in besides:
            yield from pairs(names, beside)
        return
    for name, kind in PARTS[group].kinds().items():
        prefix = f"{name}." if group == "softmax_variant" else ""
        names = [*(prefix + field for field in kind.model_fields), *WITH.get(group, [])]
        yield from pairs(names, {group: name})
        for beside in BESIDE[group]:
            yield {group: name, **beside}
            for spec in map(all_specs().__getitem__, names):
                yield from ({group: name, **beside, spec.name: value} for value in special(spec))


def possible(make: Make, group: str) -> list[Config]:
    found: dict[str, Config] = {}
    for setting in settings(group):
        try:
            config = make(**{**TINY, **setting})
        except TunemaxError:
            continue
        found[str(config.active())] = config
    return list(found.values())


def trained(configs: list[Config], corpus: Corpus) -> list[str]:
    """A digest of what each has become: its parameters by name, and its loss."""
    buckets = defaultdict(list)
    for place, config in enumerate(configs):
        buckets[config.bucket, config.train.max_iters].append(place)
    digests = [""] * len(configs)
    for (_, steps), places in buckets.items():
        trainer = Trainer(configs[places[0]], corpus)
        members = [trainer.add(configs[place]) for place in places]
        views = trainer.layout.split(trainer._rows.theta)
        for parameter in trainer.layout.parameters:
            if parameter.role != "scalar":
                noise = torch.randn(parameter.shape, generator=generator(1, "noise", parameter.name))
                views[parameter.name].add_(noise, alpha=SCALE)
        trainer.step(steps)
        views = trainer.layout.split(trainer._rows.theta)
        for place, member in zip(places, members, strict=True):
            digest = hashlib.sha256(repr((member.iteration, member.train_loss)).encode())
            for name, part in sorted(trainer.layout.used(configs[place]).items()):
                digest.update(
                    name.encode() + (views[name][trainer.members.index(member)][part] + 0.0).numpy().tobytes()
                )
            digests[place] = digest.hexdigest()
    return digests


@pytest.mark.parametrize("group", [*PARTS, *GROUPS])
def test_equal_trainings_have_one_identity_and_others_have_others(group: str, make: Make, corpus: Corpus) -> None:
    configs = possible(make, group)
    assert len(configs) > 2
    identities: dict[Any, dict[str, Setting]] = defaultdict(dict)
    trainings: dict[str, dict[str, Setting]] = defaultdict(dict)
    for config, digest in zip(configs, trained(configs, corpus), strict=True):
        # A variant's formula is its own: where two are the same function, they are equal to rounding, and here or there
        # to the last digit
        identities[config.softmax.name, digest].setdefault(config.identity, config.active())
        trainings[config.identity].setdefault(digest, config.active())
    assert not [told(*several.values()) for several in identities.values() if len(several) > 1]
    assert not [told(*several.values()) for several in trainings.values() if len(several) > 1]


def told(*several: Setting) -> list[Setting]:
    """What they differ in."""
    names = {name for one in several for name in one if any(one.get(name) != other.get(name) for other in several)}
    return [{name: one[name] for name in sorted(names) if name in one} for one in several]


@pytest.fixture
def make(small: Make) -> Make:
    return small
