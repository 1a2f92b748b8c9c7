"""The configuration of one member: model, its softmax variant, training, logging.

Everything outside this module speaks of a configuration as flat names and values (``{"n_layer": 4, "constantmax.gamma":
80}``): command line, study file, Optuna parameters, checkpoints. `Config.of` checks them and `Config.flat` gives them
back.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Literal, Self, TypeVar

import pydantic

from tunemax.gpt.attention import Attention
from tunemax.gpt.defaults import of_their_time
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.evaluation import SPAN, tokens_of
from tunemax.gpt.fields import Choices, Control, Fields, FieldSpec, Range, explain, setting, shown, specs_of
from tunemax.gpt.mlp import Mlp
from tunemax.gpt.norm import Norm
from tunemax.gpt.optimizer import Optimizer
from tunemax.gpt.parameters import Role
from tunemax.gpt.parts import Part, specs_of_kinds
from tunemax.gpt.positions import Positions
from tunemax.gpt.shape import Shape
from tunemax.gpt.softmax import Variant, find_variant, variants

F = TypeVar("F", bound=Fields)

GAIN = 0.8
"""Of initial weights, times the root of the width: what matrices multiply keeps about its size, whatever the width."""


class ModelConfig(Shape):
    """The shape of the GPT, what it is made of, and which softmax variant its attention uses."""

    dropout: float = setting(
        0.0,
        "share of activations dropped in training",
        ge=0,
        lt=1,
        search=Range(0.0, 0.3),
        control=Control("logit", 0.0, 0.9),
    )
    attention: str = setting(
        "multi_head",
        "how heads share queries, keys and values",
        search=Choices(tuple(Attention.kinds())),
        shared=True,
        neutral="multi_head",
    )
    position: str = setting(
        "learned",
        "position information: a learned table, or rotary (RoPE)",
        search=Choices(tuple(Positions.kinds())),
        shared=True,
    )
    norm: str = setting(
        "layer", "what normalises activations", search=Choices(tuple(Norm.kinds())), shared=True, neutral="layer"
    )
    norm_position: Literal["pre", "post", "peri"] = setting(
        "pre",
        "norm before each sublayer, after the residual sum, or before and after each sublayer",
        when={"norm": tuple(name for name in Norm.kinds() if name != "none")},
        search=Choices(("pre", "post", "peri")),
        shared=True,
    )
    mlp: str = setting(
        "gelu",
        "activation of the MLP; a name with glu has a gate",
        search=Choices(tuple(Mlp.kinds())),
        shared=True,
        neutral="gelu",
    )
    tie_weights: bool = setting(
        True, "the output matrix is the token embedding", search=Choices((True, False)), shared=True
    )
    logit_softcap: float = setting(
        0.0,
        "c: the output's logits x are c·tanh(x / c), never larger; 0 leaves them as they are",
        ge=0,
        le=1e4,
        search=Range(5, 100, log=True),
        switch=True,
        neutral=0.0,
    )
    softmax_variant: str = setting(
        "softmax", "what replaces the softmax of attention", search=Choices(tuple(variants()))
    )

    @pydantic.field_validator("attention", "position", "norm", "mlp", "softmax_variant", mode="after")
    @classmethod
    def _canonical(cls, name: str, info: pydantic.ValidationInfo) -> str:
        return PARTS[str(info.field_name)].find(shown(name)).name

    @pydantic.model_validator(mode="after")
    def _something_normalises(self) -> Self:
        if self.norm_position == "peri" and self.norm == "none":
            raise ValueError(
                "norm_position = peri is a norm before and after each sublayer, and norm = none is none; "
                "choose another norm, or leave out norm_position"
            )
        return self


PARTS: Mapping[str, type[Part]] = {
    family.field: family for family in (Attention, Positions, Norm, Mlp, Variant, Optimizer)
}
"""The families of parts that a training is made of, by the field that names a kind."""


def by_optimizer(name: str) -> str:
    """How a field's help says which optimizers have another default for it."""
    kinds = Optimizer.kinds().values()
    others = [f"{shown(kind.defaults[name])} with {kind.name}" for kind in kinds if name in kind.defaults]
    return f"; by default {', '.join(others)}" if others else ""


class TrainConfig(Fields):
    """What is trained on, for how long, and how."""

    dataset: str = setting("python_stdlib", "python_stdlib, shakespeare_char, or the path of a text file or folder")
    data_start: float = setting(
        0.0, "where in the training text the part to train on begins, as a share of it", ge=0, lt=1, neutral=0.0
    )
    data_end: float = setting(1.0, "where that part ends, as a share of the text", gt=0, le=1, neutral=1.0)
    seed: int = setting(1, "decides the initial weights, the order of the data and the dropout masks", ge=0, le=2**53)
    init_std: float = setting(
        0.0,
        "standard deviation of the initial weights; 0 takes 0.8 / √n_embd. Of what is added to the residual stream it "
        "is divided by √(2 n_layer)",
        ge=0,
        le=10,
        search=Range(0.02, 0.3, log=True),
        neutral=0.02,
    )
    max_iters: int = setting(1000, "the horizon: iterations to train", ge=1)
    batch_size: int = setting(12, "windows a batch", ge=1, search=Choices((4, 8, 16, 32)), shared=True)
    optimizer: str = setting(
        "adamw",
        "how gradients become updates",
        search=Choices(tuple(Optimizer.kinds())),
        shared=True,
        neutral="adamw",
    )
    learning_rate: float = setting(
        5e-3,
        f"peak learning rate{by_optimizer('learning_rate')}",
        gt=0,
        le=10,
        search=Range(1e-3, 3e-2, log=True),
        control=Control("multiplicative", 1e-6, 1.0),
    )
    variant_lr_ratio: float = setting(
        1.0,
        "learning rate of a variant's own scalars, relative to learning_rate",
        ge=0,
        le=1e4,
        search=Range(0.1, 100, log=True),
        any_of=[condition for variant in variants().values() for condition in variant.learns()],
        control=Control("multiplicative", 1e-3, 1e4),
    )
    input_lr_ratio: float = setting(
        1.0,
        "learning rate of embedding tables, relative to learning_rate",
        ge=0,
        le=1e4,
        search=Range(0.1, 10, log=True),
        control=Control("multiplicative", 1e-3, 1e4),
        neutral=1.0,
    )
    output_lr_ratio: float = setting(
        1.0,
        "learning rate of the output matrix, relative to learning_rate",
        ge=0,
        le=1e4,
        search=Range(0.1, 10, log=True),
        when={"tie_weights": (False,)},
        control=Control("multiplicative", 1e-3, 1e4),
        neutral=1.0,
    )
    vector_lr_ratio: float = setting(
        1.0,
        "learning rate of norms and biases, relative to learning_rate",
        ge=0,
        le=1e4,
        search=Range(0.1, 10, log=True),
        control=Control("multiplicative", 1e-3, 1e4),
        neutral=1.0,
    )
    schedule: Literal["cosine", "constant", "linear", "wsd"] = setting(
        "linear",
        "learning rate after the warm-up; wsd is warm-up, stable, linear decay",
        search=Choices(("cosine", "constant", "linear", "wsd")),
    )
    warmup_fraction: float = setting(
        0.2, "share of the horizon over which the learning rate rises from 0", ge=0, le=1, search=Range(0.0, 0.4)
    )
    decay_fraction: float = setting(
        0.2,
        "share of the horizon over which wsd decays",
        ge=0,
        le=1,
        search=Range(0.1, 0.5),
        when={"schedule": ("wsd",)},
    )
    min_lr_ratio: float = setting(
        0.1,
        "final learning rate, relative to the peak",
        ge=0,
        le=1,
        search=Range(0.0, 0.3),
        when={"schedule": ("cosine", "linear", "wsd")},
    )
    z_loss: float = setting(
        0.0,
        "times the mean of (ln Z)², added to what is minimised, Z being the sum of e^logit; steadies the output's "
        "logits; 0 adds nothing",
        ge=0,
        le=10,
        search=Range(1e-6, 1e-2, log=True),
        switch=True,
        neutral=0.0,
    )
    weight_decay: float = setting(
        0.1,
        f"decoupled weight decay, on matrices unless vector_decay_ratio says otherwise{by_optimizer('weight_decay')}",
        ge=0,
        le=100,
        search=Range(1e-3, 1.0, log=True),
        control=Control("multiplicative", 1e-6, 10.0),
    )
    input_decay_ratio: float = setting(
        1.0,
        "weight decay of embedding tables, relative to weight_decay",
        ge=0,
        le=1e4,
        search=Choices((0.0, 1.0)),
        neutral=1.0,
    )
    output_decay_ratio: float = setting(
        1.0,
        "weight decay of the output matrix, relative to weight_decay",
        ge=0,
        le=1e4,
        search=Choices((0.0, 1.0)),
        when={"tie_weights": (False,)},
        neutral=1.0,
    )
    vector_decay_ratio: float = setting(
        0.0,
        "weight decay of norms and biases, relative to weight_decay",
        ge=0,
        le=1e4,
        search=Choices((0.0, 1.0)),
        neutral=0.0,
    )
    grad_clip: float = setting(
        0.25,
        "largest norm of a member's gradient; 0 does not clip",
        ge=0,
        search=Range(0.05, 5, log=True),
        control=Control("multiplicative", 1e-3, 1e3),
    )
    eval_interval: int = setting(250, "iterations between evaluations", ge=1, identity=False)
    eval_tokens: int = setting(
        81920,
        "targets of the evaluation at the horizon, one a byte of text, spread evenly over the slice; 0 takes all of "
        "it, as the default does where there are fewer; looks on the way take a sixteenth of them",
        ge=0,
        when={"eval_by": ("tokens",)},
    )
    eval_iters: int = setting(
        30,
        "validation batches an evaluation, spread evenly over the slice; 0 takes all of it; with eval_by = tokens it "
        "is another way to say eval_tokens",
        ge=0,
        when={"eval_by": ("windows",)},
    )
    eval_by: Literal["tokens", "windows"] = setting(
        "tokens",
        "tokens: fixed targets, the same for every configuration, and a spike of the training loss is no divergence; "
        "windows: the rule of older versions",
        neutral="windows",
    )
    eval_slice: Literal["tuning", "confirmation", "test"] = setting(
        "tuning",
        "validation text to evaluate on: tuning decides, confirmation confirms, test is kept for the end",
        neutral="tuning",
    )
    divergence_margin: float = setting(
        1.0,
        "validation losses above ln(vocabulary) + margin, at two looks in a row or at the horizon, have diverged; in "
        "nats",
        gt=0,
    )
    precision: Literal["fp32", "bf16"] = setting("fp32", "arithmetic; bf16 autocasts matrix products", shared=True)
    device: str = setting("auto", "auto (CUDA if there is one), cpu, cuda, cuda:1, …", identity=False, shared=True)
    compile: bool = setting(
        False,
        "train by compiled functions: a minute for each variant and shape, once, then faster; equal to rounding; needs "
        "a C++ compiler",
        identity=False,
        shared=True,
    )

    @pydantic.field_validator("optimizer", mode="after")
    @classmethod
    def _known(cls, name: str) -> str:
        return Optimizer.find(shown(name)).name

    @pydantic.field_validator("eval_tokens", mode="after")
    @classmethod
    def _whole_spans(cls, tokens: int) -> int:
        if 0 < tokens < SPAN:
            raise ValueError(f"less than one span of text; expected at least {SPAN}, or 0 for the whole slice")
        return tokens


PLACES = ("out_dir", "tensorboard_project", "tensorboard_run_name")
"""Fields that say where files go: they are for who trains, and not taken over from a trial of a database."""


class LogConfig(Fields):
    """What is written where."""

    out_dir: str = setting("", "folder of the run; runs/<dataset>-<variant>-<identity> if empty", identity=False)
    log_interval: int = setting(10, "iterations between lines of training loss", ge=1, identity=False)
    tensorboard: bool = setting(True, "write TensorBoard event files", identity=False)
    tensorboard_project: str = setting("", "folder between the TensorBoard root and the run", identity=False)
    tensorboard_run_name: str = setting(
        "", "name of the run in TensorBoard; the name of its folder if empty", identity=False
    )
    tensorboard_histograms: bool = setting(
        False,
        "histograms of attention weights and of learnables, at every evaluation",
        when={"tensorboard": (True,)},
        identity=False,
        neutral=False,
    )


class Config(pydantic.BaseModel):
    """All fields of one member. Frozen and valid; made by `Config.of`. Only the chosen variant's own group is held."""

    model_config = pydantic.ConfigDict(frozen=True)

    model: ModelConfig
    attention: pydantic.SerializeAsAny[Attention]
    positions: pydantic.SerializeAsAny[Positions]
    norm: pydantic.SerializeAsAny[Norm]
    mlp: pydantic.SerializeAsAny[Mlp]
    softmax: pydantic.SerializeAsAny[Variant]
    train: TrainConfig
    optimizer: pydantic.SerializeAsAny[Optimizer]
    log: LogConfig

    @classmethod
    def of(cls, values: Mapping[str, Any] | None = None) -> Config:
        """A checked configuration from flat names and values; what is not named takes its default, which may be the
        optimizer's.

        Values of variants and other kinds of parts that are not chosen are checked, then dropped, as are those of parts
        that mean nothing beside the others: they are inert. `eval_iters` without `eval_tokens` says how many tokens are
        evaluated, as so many batches. Raises TunemaxError.
        """
        specs = all_specs()
        checked: dict[str, Any] = {}
        for given, value in (values or {}).items():
            name = resolve(given)
            if name in checked:
                raise TunemaxError(f"{name}: given twice, also under another name; keep one")
            checked[name] = specs[name].check(value)
        kind = Optimizer.find(shown(checked.get("optimizer", "adamw")))
        checked = {**kind.defaults, **checked}
        model = _group(ModelConfig, "", checked)
        attention = _group(Attention.find(model.attention), "", checked)
        positions = _group(Positions.find(model.position), "", checked)
        softmax = find_variant(model.softmax_variant)
        train = _group(TrainConfig, "", checked)
        if train.data_start >= train.data_end:
            start, end = shown(train.data_start), shown(train.data_end)
            raise TunemaxError(f"data_start = {start} is not before data_end = {end}; change one of them")
        if train.eval_by == "tokens" and "eval_iters" in checked and "eval_tokens" not in checked:
            tokens = tokens_of(train.eval_iters, train.batch_size, model.block_size)
            train = _group(TrainConfig, "", {**checked, "eval_tokens": tokens})
        optimizer = _group(kind, "", checked)
        if model.parametrisation == "mup" and optimizer.width_exponent is None:
            able = ", ".join(name for name, other in Optimizer.kinds().items() if other().width_exponent is not None)
            reason = "nobody has said how its learning rate follows the width, which parametrisation = mup needs"
            raise TunemaxError(f"optimizer = {kind.name}: {reason}; take one of {able}")
        try:
            attention.check(model)
            positions.check(attention.head_width(model), max(attention.softmaxes(model) or [1]))
        except ValueError as error:
            raise TunemaxError(str(error)) from error
        config = cls(
            model=model,
            attention=attention,
            positions=positions,
            norm=_group(Norm.find(model.norm), "", checked),
            mlp=_group(Mlp.find(model.mlp), "", checked),
            softmax=_group(softmax, f"{softmax.name}.", checked),
            train=train,
            optimizer=optimizer,
            log=_group(LogConfig, "", checked),
        )
        inert = (_conditional() & checked.keys()) - config.active().keys() if _conditional() & checked.keys() else ()
        return cls.of({name: value for name, value in checked.items() if name not in inert}) if inert else config

    @classmethod
    def stored(cls, whole: Mapping[str, Any]) -> Config:
        """The configuration that `flat` gave, to this version or an older one: fields that it lacks are at what they
        would have been then. Raises TunemaxError."""
        return cls.of(of_their_time(whole))

    def flat(self) -> dict[str, Any]:
        """Every field by its flat name, inert ones included; `Config.of(config.flat()) == config`."""
        return {prefix + name: value for prefix, group in self._groups() for name, value in dict(group).items()}

    def _groups(self) -> tuple[tuple[str, Fields], ...]:
        """All groups of fields, each behind what its flat names begin with."""
        parts = (self.model, self.attention, self.positions, self.norm, self.mlp)
        variant = (f"{self.softmax.name}.", self.softmax)
        return (*(("", part) for part in parts), variant, ("", self.train), ("", self.optimizer), ("", self.log))

    @property
    def parts(self) -> tuple[Part, ...]:
        """What members of a stack share, softmax variants left out."""
        return self.attention, self.positions, self.norm, self.mlp, self.optimizer

    def active(self) -> dict[str, Any]:
        """The flat fields that mean something in this configuration."""
        values = self.flat()
        specs = all_specs()
        return {name: value for name, value in values.items() if specs[name].active(values)}

    def held(self) -> dict[str, Any]:
        """The flat fields that mean something here, or would if a number that may move meanwhile did."""
        values = self.flat()
        specs = all_specs()
        return {name: value for name, value in values.items() if specs[name].can_be_active(values)}

    def replace(self, values: Mapping[str, Any]) -> Config:
        """This configuration with some flat fields changed, checked again."""
        return Config.of(changed(self.flat(), {resolve(name): value for name, value in values.items()}))

    def checked(self, values: Mapping[str, Any], name: str, value: Any) -> Any:
        """A value of one flat field, as its type, beside these values of its group's fields. Raises TunemaxError.

        Much cheaper than `replace`: agents change fields many times a second. Where a group has no rule over several
        fields, the field alone decides.
        """
        checked = all_specs()[name].check(value)
        prefix = name[: name.rfind(".") + 1]
        own_name = name.removeprefix(prefix)
        group = next(g for p, g in self._groups() if p == prefix and own_name in type(g).model_fields)
        if not type(group).__pydantic_decorators__.model_validators:
            return checked
        own = {prefix + own: values.get(prefix + own, before) for own, before in dict(group).items()}
        _group(type(group), prefix, {**own, name: checked})
        return checked

    @cached_property
    def identity(self) -> str:
        """Sixteen hexadecimal digits; equal exactly if the same thing would be trained and measured.

        Inert fields, fields that only say where and how often to write, and later fields at their neutral value stay
        out, so a field added to tunemax leaves every older identity as it was.
        """
        active, named = self.active(), {}
        for name in self.flat():
            declared = all_specs()[name].declared
            value = active.get(name, declared.inert_as)
            if declared.identity and value is not None and value != declared.neutral:
                named[name] = value
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def code_path(self) -> tuple[Any, ...]:
        """That of the variant; asked for at every step of a training."""
        return self.softmax.code_path

    def initial_std(self, role: Role) -> float:
        """Standard deviation of the initial weights of a role; see `TrainConfig.init_std`. With muP it is what they
        have at the base width; wider hidden matrices have it divided by the root of the multiple."""
        std = self.train.init_std or GAIN / math.sqrt(self.model.base_width)
        return std / math.sqrt(self.model.width_multiple) if role == "hidden" else std

    @cached_property
    def hidden_rate(self) -> float:
        """What the learning rate of hidden matrices is multiplied with at this width."""
        return float(self.model.width_multiple ** -(self.optimizer.width_exponent or 0.0))

    @property
    def bucket(self) -> tuple[tuple[str, Any], ...]:
        """What members must share to be stacked in one trainer (beside the data)."""
        specs = all_specs()
        agreed = ((name, specs[name].kept_apart(value)) for name, value in self.flat().items())
        return tuple((name, value) for name, value in agreed if value is not None)


@lru_cache(maxsize=1)
def all_specs() -> dict[str, FieldSpec]:
    """Every field by its flat name, in groups model (each variant's own fields behind it), training, logging."""
    groups = [
        specs_of(ModelConfig, "model"),
        *(specs_of_kinds(family) for family in PARTS.values() if family.group == "model" and family is not Variant),
        *(variant.specs() for variant in variants().values()),
        specs_of(TrainConfig, "training"),
        specs_of_kinds(Optimizer),
        specs_of(LogConfig, "logging"),
    ]
    return {spec.name: spec for group in groups for spec in group}


@lru_cache(maxsize=1)
def _conditional() -> frozenset[str]:
    """Fields that stacked members must agree on and that mean something only beside some values of others."""
    return frozenset(name for name, spec in all_specs().items() if spec.declared.shared and spec.depends_on)


def resolve(name: str) -> str:
    """The canonical flat name: ``consmax.gamma`` is ``constantmax.gamma``. Raises TunemaxError for an unknown one."""
    if name in all_specs():
        return name
    group, dot, field = str(name).rpartition(".")
    owner = next((variant.name for variant in variants().values() if group in variant.aliases), group)
    canonical = f"{owner}{dot}{field}"
    if canonical not in all_specs():
        raise TunemaxError(f"{shown(name)}: no such field{did_you_mean(canonical, all_specs())}")
    return canonical


def changed(flat: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Flat fields with some others in their place; a new `eval_iters` is not overruled by the old `eval_tokens`."""
    kept = dict(flat)
    if "eval_iters" in values:
        kept.pop("eval_tokens", None)
    return {**kept, **values}


def _group(fields: type[F], prefix: str, values: Mapping[str, Any]) -> F:
    own = {name: values[prefix + name] for name in fields.model_fields if prefix + name in values}
    try:
        return fields(**own)
    except pydantic.ValidationError as error:
        raise TunemaxError(explain(error, prefix.rstrip("."))) from error
