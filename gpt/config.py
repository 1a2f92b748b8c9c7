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

from tunemax.gpt import plugins
from tunemax.gpt.attention import Attention
from tunemax.gpt.defaults import of_their_time
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.evaluation import tokens_of
from tunemax.gpt.feedback.fields import Feedback
from tunemax.gpt.fields import (
    Choices,
    Condition,
    Control,
    Fields,
    FieldSpec,
    Range,
    explain,
    setting,
    shown,
    shown_condition,
    specs_of,
)
from tunemax.gpt.mlp import Mlp
from tunemax.gpt.norm import Norm
from tunemax.gpt.optimizer import Optimizer
from tunemax.gpt.parameters import Role
from tunemax.gpt.parts import Part, specs_of_kinds
from tunemax.gpt.plugins import PluginRecord
from tunemax.gpt.positions import Positions
from tunemax.gpt.schedule import simplest
from tunemax.gpt.shape import Shape
from tunemax.gpt.softmax import Variant, find_output, find_variant, output_prefix, outputs, variants
from tunemax.gpt.train_config import Schedule, TrainConfig

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
        search=lambda: Choices(tuple(Attention.kinds())),
        shared=True,
        neutral="multi_head",
    )
    position: str = setting(
        "learned",
        "position information: a learned table, or rotary (RoPE)",
        search=lambda: Choices(tuple(Positions.kinds())),
        shared=True,
    )
    norm: str = setting(
        "layer",
        "what normalises activations",
        search=lambda: Choices(tuple(Norm.kinds())),
        shared=True,
        neutral="layer",
    )
    norm_position: Literal["pre", "post", "peri"] = setting(
        "pre",
        "norm before each sublayer, after the residual sum, or before and after each sublayer",
        when=lambda: {"norm": tuple(name for name in Norm.kinds() if name != "none")},
        search=Choices(("pre", "post", "peri")),
        shared=True,
    )
    mlp: str = setting(
        "gelu",
        "activation of the MLP; a name with glu has a gate",
        search=lambda: Choices(tuple(Mlp.kinds())),
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
        "softmax", "what replaces the softmax of attention", search=lambda: Choices(tuple(variants()))
    )
    softmax_variant_output: str = setting(
        "softmax",
        "what makes probabilities of the output's logits; its own fields begin with `output.`",
        search=lambda: Choices(tuple(outputs())),
        shared=True,
        neutral="softmax",
    )

    @pydantic.field_validator("attention", "position", "norm", "mlp", "softmax_variant", mode="after")
    @classmethod
    def _canonical(cls, name: str, info: pydantic.ValidationInfo) -> str:
        return PARTS[str(info.field_name)].find(shown(name)).name

    @pydantic.field_validator("softmax_variant_output", mode="after")
    @classmethod
    def _distribution(cls, name: str) -> str:
        return find_output(shown(name)).name

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


SPELT = "eval_iters"
"""A field that always means something: where it is inert, `Config.of` takes it for another way to say one that is
not."""

PLACES = ("out_dir", "tensorboard_project", "tensorboard_run_name")
"""Fields that say where files go: they are for who trains, and not taken over from a trial of a database."""


class LogConfig(Fields):
    """What is written where."""

    out_dir: str = setting("", "folder of the run; runs/<dataset>-<variant>-<identity> if empty", identity=False)
    log_interval: int = setting(10, "iterations between lines of training loss", ge=1, identity=False)
    keep_every: int = setting(
        0,
        "iterations between weights that stay, beside the last ones: of a training at an evaluation; 0 keeps no others",
        ge=0,
        le=10**9,
        identity=False,
        neutral=0,
    )
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
    output: pydantic.SerializeAsAny[Variant]
    train: TrainConfig
    optimizer: pydantic.SerializeAsAny[Optimizer]
    feedback: Feedback
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
        softmax, output = find_variant(model.softmax_variant), find_variant(model.softmax_variant_output)
        train = _group(TrainConfig, "", checked)
        if train.data_start >= train.data_end:
            start, end = shown(train.data_start), shown(train.data_end)
            raise TunemaxError(f"data_start = {start} is not before data_end = {end}; change one of them")
        if train.eval_by == "tokens" and "eval_iters" in checked and "eval_tokens" not in checked:
            tokens = tokens_of(train.eval_iters, train.batch_size, model.block_size)
            train = _group(TrainConfig, "", {**checked, "eval_tokens": tokens})
        optimizer, feedback = _group(kind, "", checked), _group(Feedback, "", checked)
        if model.parametrisation == "mup" and optimizer.width_exponent is None:
            able = ", ".join(name for name, other in Optimizer.kinds().items() if other().width_exponent is not None)
            reason = "nobody has said how its learning rate follows the width, which parametrisation = mup needs"
            raise TunemaxError(f"optimizer = {kind.name}: {reason}; take one of {able}")
        try:
            attention.check(model)
            positions.check(attention.head_width(model), max(attention.softmaxes(model) or [1]))
        except ValueError as error:
            raise TunemaxError(str(error)) from error
        feedback.check(train.batch_size, model.block_size)
        config = cls(
            model=model,
            attention=attention,
            positions=positions,
            norm=_group(Norm.find(model.norm), "", checked),
            mlp=_group(Mlp.find(model.mlp), "", checked),
            softmax=_group(softmax, f"{softmax.name}.", checked),
            output=_group(output, output_prefix(output.name), checked),
            train=train,
            optimizer=optimizer,
            feedback=feedback,
            log=_group(LogConfig, "", checked),
        )
        conditional = [
            name for name in _conditional(Part.generation) & checked.keys() if checked[name] != specs[name].default
        ]
        inert = {name for name in conditional if not specs[name].active(config.flat())}
        return cls.of({name: value for name, value in checked.items() if name not in inert}) if inert else config

    @classmethod
    def stored(cls, whole: Mapping[str, Any]) -> Config:
        """The configuration that `flat` gave, to this version or an older one: fields that it lacks are at what they
        would have been then. Raises TunemaxError."""
        return cls.of(of_their_time(whole))

    def flat(self) -> dict[str, Any]:
        """Every field by its flat name, inert ones included; `Config.of(config.flat()) == config`."""
        whole = {prefix + name: value for prefix, group in self._groups() for name, value in dict(group).items()}
        output, fields = output_prefix(self.output.name), self.output.as_output or ()
        return whole | {output + name: value for name, value in dict(self.output).items() if name in fields}

    def _groups(self) -> tuple[tuple[str, Fields], ...]:
        """All groups of fields that are whole, each behind what its flat names begin with."""
        parts = (self.model, self.attention, self.positions, self.norm, self.mlp)
        variant = (f"{self.softmax.name}.", self.softmax)
        training = (self.train, self.optimizer, self.feedback)
        return (*(("", part) for part in parts), variant, *(("", part) for part in training), ("", self.log))

    @property
    def plugins(self) -> tuple[PluginRecord, ...]:
        """Those that its parts come from."""
        return plugins.records(self.kinds)

    @property
    def kinds(self) -> tuple[type[Part], ...]:
        """Of all its parts."""
        return tuple(map(type, (*self.parts, self.softmax, self.output)))

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

    def check_meant(self, given: Mapping[str, Any]) -> None:
        """Raise TunemaxError if one of some flat fields that somebody gave means nothing here."""
        active = self.active()
        for name, value in ((resolve(name), value) for name, value in given.items()):
            if name not in active and name != SPELT:
                raise TunemaxError(f"{name} = {shown(value)}: {self.why_inert(name)}")

    def why_inert(self, name: str) -> str:
        """``means nothing with optimizer = adamw; leave it out, or take optimizer = sgd or muon``, of a field that is
        inert here."""
        values, spec = self.flat(), all_specs()[name]

        def missing(condition: Condition) -> Condition:
            """What is not met, of fields that are there at all."""
            there = {other: allowed for other, allowed in condition.items() if other in values}
            return {other: allowed for other, allowed in there.items() if values[other] not in allowed}

        ways = [missing(spec.when)] if missing(spec.when) else list(map(missing, spec.any_of))
        here = [way for way in ways if Variant.field not in way]
        reasons = dict.fromkeys(f"{other} = {shown(values[other])}" for way in here or ways for other in way)
        remedies = [" and ".join(shown_condition(*each) for each in way.items()) for way in here or ways]
        remedy = f", or take {' or '.join(remedies)}" if here or len(ways) == 1 else ""
        return f"means nothing with {', '.join(reasons)}; leave it out{remedy}"

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
        groups = (*self._groups(), (output_prefix(self.output.name), self.output))
        group = next(g for p, g in groups if p == prefix and own_name in type(g).model_fields)
        if not type(group).__pydantic_decorators__.model_validators:
            return checked
        own = {prefix + own: values.get(prefix + own, before) for own, before in dict(group).items()}
        made = _group(type(group), prefix, {**own, name: checked})
        if isinstance(made, Feedback):
            made.check(self.train.batch_size, self.model.block_size)
        return checked

    @cached_property
    def identity(self) -> str:
        """Sixteen hexadecimal digits; equal exactly if the same thing would be trained and measured.

        Groups of fields are in their canonical form. Inert fields, fields that only say where and how often to write,
        and later fields at their neutral value stay out, so a field added to tunemax leaves every older identity as it
        was.
        """
        values, specs, named = self.flat(), all_specs(), {}
        for prefix, group in self._groups():
            values |= {prefix + name: value for name, value in group.canonical(self).items()}
        for name in self.flat():
            declared = specs[name].declared
            value = values[name] if specs[name].active(values) else declared.inert_as
            if declared.identity and value is not None and value != declared.neutral:
                named[name] = value
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def code_path(self) -> tuple[Any, ...]:
        """That of the variant; asked for at every step of a training."""
        return self.softmax.code_path

    @property
    def roles(self) -> set[Role]:
        """Those of the model's parameters, learnables of its variant left out."""
        model = self.model
        of_layers = (
            *self.positions.parameters(model),
            *self.norm.parameters("", model),
            *self.attention.parameters("", model),
            *self.mlp.parameters("", model, self.attention.weights(model)),
        )
        return {"input", *(parameter.role for parameter in of_layers), *(() if model.tie_weights else ("output",))}

    @property
    def simplest_schedule(self) -> Schedule:
        """The one with the fewest fields that has the same learning rates."""
        return simplest(self.train)

    @property
    def derived_std(self) -> float:
        """What `init_std` is where it is not given."""
        return GAIN / math.sqrt(self.model.base_width)

    def initial_std(self, role: Role) -> float:
        """Standard deviation of the initial weights of a role; see `TrainConfig.init_std`. With muP it is what they
        have at the base width; wider hidden matrices have it divided by the root of the multiple."""
        std = self.train.init_std or self.derived_std
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


def all_specs() -> dict[str, FieldSpec]:
    """Every field by its flat name, in groups model (each variant's own fields behind it), training, logging."""
    return _specs(Part.generation)


@lru_cache(maxsize=1)
def _specs(_generation: int) -> dict[str, FieldSpec]:
    groups = [
        specs_of(ModelConfig, "model"),
        *(specs_of_kinds(family) for family in PARTS.values() if family.group == "model" and family is not Variant),
        *(variant.specs() for variant in variants().values()),
        *(variant.output_specs() for variant in outputs().values()),
        specs_of(TrainConfig, "training"),
        specs_of_kinds(Optimizer),
        specs_of(Feedback, "training"),
        specs_of(LogConfig, "logging"),
    ]
    return {spec.name: spec for group in groups for spec in group}


@lru_cache(maxsize=1)
def _conditional(_generation: int) -> frozenset[str]:
    """Fields that stacked members must agree on and that mean something only beside some values of others."""
    return frozenset(name for name, spec in all_specs().items() if spec.declared.shared and spec.depends_on)


def resolve(name: str) -> str:
    """The canonical flat name: ``consmax.gamma`` is ``constantmax.gamma``. Raises TunemaxError for an unknown one."""
    if name in all_specs():
        return name
    group, dot, field = str(name).rpartition(".")
    place, within, alias = group.rpartition(".")  # `output`, if anything
    owner = next((variant.name for variant in variants().values() if alias in variant.aliases), alias)
    canonical = f"{place}{within}{owner}{dot}{field}"
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


Part.reserved = frozenset(
    name for group in (ModelConfig, TrainConfig, Feedback, LogConfig) for name in group.model_fields
)
plugins.load_named()  # what this process was told to register, now that there is everything that it could add to
