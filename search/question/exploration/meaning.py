"""What a combination of the sandbox's settings is here: a whole configuration, or the reason why it cannot be."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import Value, shown
from tunemax.gpt.softmax import Variant
from tunemax.search.question.exploration import names
from tunemax.search.question.exploration.names import NAMES, NEUTRAL, QUANTIZE
from tunemax.search.question.exploration.shapes import same

INIT_STD = 0.02
"""Standard deviation of the sandbox's initial weights; of what is added to the residual stream it is divided by
√(2 n_layer), as here."""


BY_OPTIMIZER = ("beta1", "beta2")
"""Fields that an optimizer may not have."""


class Impossible(TunemaxError):
    """A combination that cannot be trained here. name: of the setting that stands in the way."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)


class Misspelt(Impossible):
    """A value that the sandbox does not have either."""


class Settings:
    """The settings of one combination. It notes which are asked for: the others mean nothing beside these."""

    def __init__(self, given: Mapping[str, Value]) -> None:
        self._given = given
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self._given.get(name, NAMES[name].default)

    def one_of(self, name: str, here: Iterable[str], there: Iterable[str]) -> str:
        """A value that names something. here: those that can be taken. there: others of the sandbox."""
        value = str(self[name])
        if value in here:
            return value
        if value in there:
            raise Impossible(name, f"{name} = {value}: the sandbox has it, tunemax has not; it has {', '.join(here)}")
        near = did_you_mean(value, [*here, *there])
        raise Misspelt(name, f"{name} = {shown(value)}: nothing that the sandbox has{near}")


@dataclass(frozen=True)
class Meaning:
    """What a combination trains: flat fields, of which none is inert; and the settings that decided it."""

    fields: Mapping[str, Value]
    asked: frozenset[str]


def meaning(given: Mapping[str, Value]) -> Meaning:
    """What a combination of settings that are translated trains. Raises Impossible."""
    settings = Settings(given)
    fields: dict[str, Value] = {"dataset": str(settings["dataset"]), "init_std": INIT_STD}
    settings["eval_interval"]  # decides nothing, and is kept beside
    for name, known in NAMES.items():
        if known.field and not known.variants and known.field not in BY_OPTIMIZER:
            fields[known.field] = settings[name]
    for part in (_length, _optimizer, _positions, _norm, _mlp, _attention, _softmax):
        fields |= part(settings)
    try:
        trained = _trained(tuple(fields.items()))
    except TunemaxError as error:
        raise Impossible(_culprit(str(error), given), str(error)) from None
    variant = str(fields["softmax_variant"])
    return Meaning(trained, frozenset(name for name in settings.asked if _decides(name, variant, trained)))


@lru_cache(maxsize=2**17)
def _trained(fields: tuple[tuple[str, Value], ...]) -> Mapping[str, Value]:
    """The fields of a configuration that change what is trained. Raises TunemaxError for one that cannot be."""
    specs = all_specs()
    active = Config.of(dict(fields)).active()
    return {name: value for name, value in active.items() if specs[name].declared.identity}


def _decides(name: str, variant: str, trained: Mapping[str, Value]) -> bool:
    """Whether a setting that was asked for is told by what is trained: its field may be inert."""
    known = NAMES[name]
    field = f"{variant}.{known.field}" if known.variants else known.field
    return not known.field or field in trained


def _culprit(message: str, given: Mapping[str, Value]) -> str:
    """The setting that a message of ours is about, as far as its words tell; the variant if they do not."""
    words = set(re.findall(r"[a-z_0-9]+", message))
    about = (name for name in given if {NAMES[name].field, name} & words)
    return next(about, "softmax_variant_attn" if "softmax_variant_attn" in given else next(iter(given), ""))


def check_absent(name: str, value: Any) -> None:
    """Raise Impossible for a setting of what is not here, unless it is at a value at which it changes nothing."""
    switch = name.startswith(QUANTIZE)
    neutral = NEUTRAL.get(name, (None, False) if switch else (None,))
    off = any(same(value, each) for each in neutral)
    if not off and not (switch and name.endswith(("_bits", "_method"))):
        raise Impossible(
            name, f"{name} = {shown(names.said(value))}: the sandbox has it, tunemax has not; leave it out"
        )


def _length(settings: Settings) -> dict[str, Value]:
    """How long, on how much, and at which rates."""
    horizon, rate = settings["max_iters"], settings["learning_rate"]
    batch = settings["batch_size"] * settings["gradient_accumulation_steps"]
    precision = names.PRECISIONS[settings.one_of("dtype", names.PRECISIONS, ())]
    fields = {"max_iters": horizon, "batch_size": batch, "precision": precision}
    if settings.one_of("lr_scheduler", names.SCHEDULERS, names.OTHER_SCHEDULERS) == "cosine":
        decay, warmup, least, by = settings["cosine_t_max"], 0, settings["cosine_eta_min"], "cosine_t_max"
    elif not settings["decay_lr"]:
        return {**fields, "schedule": "constant", "warmup_fraction": 0.0}
    else:
        by, matched = "lr_decay_iters", settings["lr_decay_match_max_iters"]
        decay = horizon if matched else settings["lr_decay_iters"]
        warmup, least = settings["warmup_iters"], settings["min_lr"]
    if decay != horizon:
        reason = f"the learning rate decays until the horizon here, max_iters = {horizon}"
        raise Impossible(by, f"{by} = {decay}: {reason}; make both equal")
    if warmup > horizon or least > rate:
        name, most = ("warmup_iters", "max_iters") if warmup > horizon else ("min_lr", "learning_rate")
        raise Impossible(name, f"{name} = {shown(settings[name])} is above {most} = {shown(settings[most])}; lower it")
    fields |= {"schedule": "cosine", "warmup_fraction": _share(warmup, horizon), "min_lr_ratio": _share(least, rate)}
    return fields


def _share(part: float, whole: float) -> float:
    return float(f"{part / whole:.12g}") if whole else 0.0


def _optimizer(settings: Settings) -> dict[str, Value]:
    kind = settings.one_of("optimizer", names.OPTIMIZERS, names.OTHER_OPTIMIZERS)
    decay = settings["adamw_weight_decay"] if kind == "adamw" else None
    fields = {"optimizer": kind, "weight_decay": settings["weight_decay"] if decay is None else decay}
    if kind == "sgd":
        return {**fields, "momentum": settings["sgd_momentum"], "nesterov": settings["sgd_nesterov"]}
    fields |= {"beta1": settings["beta1"], "beta2": settings["beta2"]}
    if kind == "muon":
        fields |= {"momentum": settings["muon_momentum"], "nesterov": settings["muon_nesterov"]}
    return fields


def _positions(settings: Settings) -> dict[str, Value]:
    rotary, table = settings["use_rotary_embeddings"], settings["use_abs_pos_embeddings"]
    if rotary and table:
        reason = "beside use_abs_pos_embeddings: positions are rotary or a table here, not both"
        raise Impossible("use_rotary_embeddings", f"use_rotary_embeddings {reason}; switch one of them off")
    if not rotary:
        return {"position": "learned" if table else "none"}
    turned = settings["rope_length"]
    width = settings["n_qk_head_dim"] if settings["attention_variant"] == "infinite" else None
    width = width or settings["n_embd"] // settings["n_head"]
    return {"position": "rotary", "rope_share": _share(turned, width) if turned else 1.0}


def _norm(settings: Settings) -> dict[str, Value]:
    kind = settings.one_of("norm_variant_attn", names.NORMS, names.OTHER_NORMS)
    if settings["norm_variant_output"] is not None:
        last = settings.one_of("norm_variant_output", names.NORMS, names.OTHER_NORMS)
        if last != kind:
            reason = f"all norms are of one kind here, norm_variant_attn = {kind}"
            raise Impossible("norm_variant_output", f"norm_variant_output = {last}: {reason}; make both equal")
    peri, post, before = settings["use_peri_ln"], settings["use_post_ln"], settings["use_pre_ln"]
    pre = not post if before is None else before
    places = {(True, False, False): "pre", (False, False, True): "post", (True, True, False): "peri"}
    if (pre, peri, post) not in places:
        on = [name for name, is_on in (("pre", pre), ("peri", peri), ("post", post)) if is_on]
        reason = f"norms at {' and '.join(on) or 'no place'}, expected use_pre_ln, use_post_ln, or pre with use_peri_ln"
        culprit = "use_peri_ln" if peri else "use_post_ln" if post else "use_pre_ln"
        raise Impossible(culprit, f"{culprit}: {reason}")
    return {"norm": names.NORMS[kind], "norm_position": places[pre, peri, post]}


def _mlp(settings: Settings) -> dict[str, Value]:
    kind = settings.one_of("mlp_variant", names.MLPS, names.OTHER_MLPS)
    gated = kind == "swiglu"
    ours = names.GATES if gated else names.ACTIVATIONS
    mlp = ours[settings.one_of("activation_variant", ours, (*names.ACTIVATIONS, *names.OTHER_ACTIVATIONS))]
    size, width = settings["mlp_size"], settings["n_embd"]
    name = "mlp_expansion_factor" if size is None else "mlp_size"
    hidden = settings["mlp_expansion_factor"] * width if size is None else size
    if gated and hidden % 4:
        reason = f"makes {hidden:g} hidden units; of an MLP with a gate they are a multiple of 4 here"
        raise Impossible(name, f"{name} = {shown(settings[name])}: {reason}")
    return {"mlp": mlp, "mlp_ratio": _share(hidden * (1.5 if gated else 1), width)}  # with a gate ours takes two thirds


def _attention(settings: Settings) -> dict[str, Value]:
    kind = settings.one_of("attention_variant", names.ATTENTION, names.OTHER_ATTENTION)
    heads, window = settings["n_head"], settings["window_size"]
    shared = settings["n_kv_group"] or heads
    fields: dict[str, Value] = {"attention": "multi_head"}
    if shared == 1 < heads:
        fields = {"attention": "multi_query"}
    elif shared != heads:
        fields = {"attention": "grouped_query", "n_kv_head": shared}
    if kind == "infinite":
        fields["head_dim"] = _own_width(settings)
    if window is not None:  # the sandbox counts the keys before the query
        fields["window"] = window + 1
    normed, scaled = settings["use_qk_norm"], settings["use_qk_norm_scale"]
    if normed != scaled:
        name, other = ("use_qk_norm", "use_qk_norm_scale") if normed else ("use_qk_norm_scale", "use_qk_norm")
        raise Impossible(name, f"{name} without {other}: normalised queries and keys have a scale here; switch on both")
    if normed:
        fields |= {"qk_norm": "l2", "qk_norm_scale": True}
    if settings["use_v_norm"]:
        fields["v_norm"] = "l2"
    if settings["use_flash_lobo"]:
        learned = settings["use_flash_lobo_per_head"] and not settings["use_flash_obo_const"]
        if not learned or settings["flash_lobo_log_const"] or settings["softmax_variant_attn"] != "softmax":
            form = "use_flash_lobo_per_head, flash_lobo_log_const = 0, softmax_variant_attn = softmax"
            raise Impossible("use_flash_lobo", f"use_flash_lobo: a learned sink is one a head from 0 here: {form}")
        fields["attention_sink"] = True
    return fields


def _own_width(settings: Settings) -> int:
    """The width of heads that need not divide n_embd."""
    width = settings["n_qk_head_dim"]
    if width is None or width != settings["n_v_head_dim"] or not settings["use_concat_heads"]:
        need = "use_concat_heads and n_qk_head_dim = n_v_head_dim"
        raise Impossible("attention_variant", f"attention_variant = infinite: needs {need} here, which is head_dim")
    return int(width)


def _softmax(settings: Settings) -> dict[str, Value]:
    given = str(settings["softmax_variant_attn"])
    variant = _variant("softmax_variant_attn", given)
    theirs = {Variant.find(name).name: name for name in names.SOFTMAXES if name in Variant.registry}
    chosen = given if given == names.PER_HEAD else theirs.get(variant, given)
    fields: dict[str, Value] = {"softmax_variant": variant}
    if (output := str(settings["softmax_variant_output"])) != "softmax":
        name = "softmax_variant_output"
        fields |= _option(name, name, settings) and {name: _variant(name, output)}
    for name, known in NAMES.items():
        if chosen in known.variants and known.field:
            fields |= _option(f"{variant}.{known.field}", name, settings)
    if chosen in names.CONSMAX:
        return {**fields, **_consmax(chosen, variant, settings)}
    if chosen == "strongermax":
        return {**fields, **_strongermax(settings)}
    if chosen == "sigmoidmax":
        return {**fields, f"{variant}.bias_by_seq_len": False}
    if chosen == "exppolymax":
        return {**fields, **_base("exppolymax", variant, settings)}
    if chosen == "sigsoftmax" and not settings["sigsoftmax_use_euler_base"]:
        return {**fields, "softmax_variant": "sigsoftmax_base2", "sigsoftmax_base2.base": settings["sigsoftmax_base"]}
    return fields


def _variant(name: str, chosen: str) -> str:
    """The variant of ours."""
    if chosen in Variant.registry:
        return Variant.find(chosen).name
    if chosen == names.PER_HEAD:
        return "constantmax"
    if chosen in names.SOFTMAXES:
        raise Impossible(name, f"{name} = {chosen}: the sandbox has it, tunemax has not; leave it out")
    near = did_you_mean(chosen, {*names.SOFTMAXES, *Variant.registry})
    raise Misspelt(name, f"{name} = {shown(chosen)}: no such softmax variant{near}")


def _option(field: str, name: str, settings: Settings) -> dict[str, Value]:
    """An option of a variant as the field that it is; nothing where the variant has none and it is at its default."""
    value = settings[name]
    if field in all_specs():
        return {field: value}
    if value != NAMES[name].default:
        owner = field.rpartition(".")[0] or "the model"
        raise Impossible(name, f"{name} = {shown(value)}: {owner} has no such setting here; leave it out")
    return {}


def _base(prefix: str, variant: str, settings: Settings) -> dict[str, Value]:
    base = math.e if settings[f"{prefix}_use_euler_base"] else settings[f"{prefix}_base"]
    return {f"{variant}.base": base}


def _consmax(chosen: str, variant: str, settings: Settings) -> dict[str, Value]:
    """SGD holds γ itself, but for consmax_v2, which holds factors of β and γ, one a head."""
    fields: dict[str, Value] = {f"{variant}.gamma_form": "log" if chosen == names.PER_HEAD else "raw"}
    if chosen == names.PER_HEAD and settings["consmax_per_head"]:
        fields[f"{variant}.sharing"] = "head"
    return fields if chosen == "consmax_quan" else {**fields, **_base("consmax", variant, settings)}


def _strongermax(settings: Settings) -> dict[str, Value]:
    guess = settings["strongermax_xmax_guess"] if settings["strongermax_use_xmax"] else 0.0
    by_head = settings["strongermax_use_learned_obo_per_head"]
    if by_head and settings["strongermax_use_learned_temperature_factor"]:
        name, reason = "strongermax_use_learned_obo_per_head", "a temperature and an obo are shared alike here"
        raise Impossible(name, f"{name} beside strongermax_use_learned_temperature_factor: {reason}; learn one of them")
    learned = by_head or settings["strongermax_use_learned_obo"]
    fields: dict[str, Value] = {"strongermax.learn_obo": learned, "strongermax.sharing": "head" if by_head else "layer"}
    if guess or not settings["strongermax_use_xmax"]:  # a guess of 0 is none there
        fields |= {"strongermax.maximum": "guess", "strongermax.guess": guess}
    return fields
