"""Study files for editors and for others: their JSON Schema, and a definition as a file again."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, cast

import pydantic
import yaml

from tunemax.gpt.config import PARTS, all_specs
from tunemax.gpt.fields import Choices, FieldSpec
from tunemax.gpt.plugins import loaded
from tunemax.search.question.budget import UNITS
from tunemax.search.question.definition import INNER, StudyDefinition
from tunemax.search.question.dimension import MEASURING, OWNED, TOKENS, Dimension
from tunemax.search.question.named import Named
from tunemax.search.question.plugins import KEY
from tunemax.search.question.pruners import Pruner
from tunemax.search.question.samplers import Sampler
from tunemax.search.question.stages import NAME


def study_file(definition: StudyDefinition) -> str:
    """The text of a study file that means this definition. What is at its default is left out."""
    written = definition.model_dump(mode="json", exclude={*INNER, "space"}, exclude_defaults=True)
    if definition.since:
        written["base"] = {**definition.since, **definition.base}  # a file is read by the defaults of its day
    written["budget"] = definition.budget.model_dump(exclude_defaults=True)
    if definition.sampler.is_grid:
        del written["budget"]["trials"]  # it counts its own points
    written["space"] = {name: _written(dimension) for name, dimension in definition.space.items()}
    spaces = dict(zip(definition.compared, map(definition.space_of, definition.siblings().values()), strict=False))
    for name in {name for dimensions in definition.own.values() for name in dimensions}:
        by_name = {each: _written(space[name]) for each, space in spaces.items() if name in space}
        written["space"][name] = {"per": by_name}
    whole = {name: written[name] for name in StudyDefinition.model_fields if name in written}
    text = yaml.dump(whole, Dumper=_Quoting, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return "".join([text, *_plugins(definition)])


def _plugins(definition: StudyDefinition) -> Iterator[str]:
    """The lines that name what it is read with: files by their names alone, since they lie beside the study file."""
    needed = definition.plugins
    if needed:
        words = (os.path.basename(loaded()[each.name].word) for each in needed)
        yield f"plugins: [{', '.join(words)}] # {', '.join(map(str, needed))}\n"


class _Quoting(yaml.SafeDumper):
    """PyYAML leaves text such as 08 and 1e5 bare, which are numbers in YAML 1.2, as study files are read."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    plain = re.fullmatch(r"[a-z_][a-z0-9_.]*", text) and text not in ("null", "true", "false")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Quoting.add_representer(str, _quoted)


def _written(dimension: Dimension) -> Any:
    if isinstance(dimension, Choices):
        return list(dimension.values)
    ends: dict[str, Any] = {"low": dimension.low, "high": dimension.high, "log": dimension.log}
    return ends | ({"step": dimension.step} if dimension.step is not None else {} if dimension.log else {"step": None})


def json_schema() -> dict[str, Any]:
    """JSON Schema of a study file, for editors: every key and field with its help, its valid values and its default."""
    schema = StudyDefinition.model_json_schema()
    properties = schema["properties"]
    settable = {name: spec for name, spec in all_specs().items() if name not in OWNED}
    searchable = {
        name: spec for name, spec in settable.items() if spec.declared.identity and name not in (*MEASURING, *TOKENS)
    }
    for inner in INNER:
        del properties[inner]
    properties["base"]["properties"] = {name: _value_schema(spec) for name, spec in settable.items()}
    in_space = {**searchable, "seed": all_specs()["seed"]}
    properties["space"]["properties"] = {name: _dimension_schema(spec) for name, spec in in_space.items()}
    properties[KEY] = {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "description": "plug-ins: Python files beside the study file, and modules",
    }
    properties["name"]["pattern"] = f"^{NAME}$"
    properties["confirm"].pop("default")
    properties["confirm"]["anyOf"].insert(0, {"type": "integer", "minimum": 2})
    for part in ("base", "space"):
        properties[part]["additionalProperties"] = False
    properties["per"] = {"enum": [None, *searchable], "description": properties["per"]["description"]}
    properties["compare"].update(minItems=1, uniqueItems=True)
    own = {name: {"$ref": f"#/properties/base/properties/{name}"} for name in searchable}
    candidate = {"type": ["object", "null"], "properties": own, "additionalProperties": False}
    properties["candidates"].update(
        additionalProperties=candidate, propertyNames={"pattern": f"^{NAME}$"}, minProperties=2
    )
    families: tuple[type[Named], ...] = (Sampler, Pruner)
    for family in families:
        schema["$defs"][family.__name__]["properties"] = _options_schema(family)
        properties[family.key] = {"anyOf": [{"enum": [*family.known()]}, {"$ref": f"#/$defs/{family.__name__}"}]}
    budget = schema["$defs"]["Budget"]
    del budget["required"]  # a grid has its own number of trials
    budget["oneOf"] = [{"required": [unit]} for unit in UNITS]
    confirm = schema["$defs"]["Confirm"]["properties"]
    # A candidate is named as the file has it: 2.5, true
    confirm["reference"]["anyOf"].append({"type": ["number", "boolean"]})
    confirm["horizons"] = {"anyOf": [confirm["horizons"], {"type": "integer", "minimum": 1}]}
    used = {name: part for name, part in schema["$defs"].items() if name in ("Budget", "Confirm", "Pruner", "Sampler")}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tunemax study file"}
    return {**schema, **head, "$defs": used, "required": ["question", "space", "budget"]}


def _options_schema(family: type[Named]) -> dict[str, Any]:
    """Properties of a sampler or a pruner: its name, and the options of all classes."""
    classes = family.known()
    options = {name: part for cls in classes.values() for name, part in cls.model_json_schema()["properties"].items()}
    helps = "; ".join(f"{name}: {cls.help}" for name, cls in classes.items())
    named = dict(sorted({**options["name"], "description": helps}.items()))
    return {**options, "name": {**named, "enum": [*classes]}}


def _value_schema(spec: FieldSpec) -> dict[str, Any]:
    annotated = operator.getitem(cast(Any, Annotated), (spec.annotation, spec.info))  # a type known only at run time
    schema = {**pydantic.TypeAdapter[Any](annotated).json_schema(), "description": spec.help, "default": spec.default}
    if spec.name in PARTS:
        schema["enum"] = [name for kind in PARTS[spec.name].kinds().values() for name in (kind.name, *kind.aliases)]
    return schema


def _dimension_schema(spec: FieldSpec) -> dict[str, Any]:
    value = {key: part for key, part in _value_schema(spec).items() if key not in ("default", "description", "title")}
    choices = {"type": "array", "items": value, "minItems": 2, "uniqueItems": True}
    forms: list[dict[str, Any]] = [
        choices,
        {"type": "object", "properties": {"choices": choices}, "required": ["choices"], "additionalProperties": False},
    ]
    if spec.declared.search is not None:
        forms.insert(0, {"const": "default"})
    if spec.annotation in (int, float):
        step = {"type": ["number", "null"], "exclusiveMinimum": 0}
        ends = {"low": value, "high": value, "log": {"type": "boolean"}, "step": step}
        forms.append({"type": "object", "properties": ends, "minProperties": 1, "additionalProperties": False})
    by_sibling = {"type": "object", "additionalProperties": {"anyOf": list(forms)}, "minProperties": 1}
    per = {"type": "object", "properties": {"per": by_sibling}, "required": ["per"], "additionalProperties": False}
    return {"description": spec.help, "anyOf": [*forms, per]}
