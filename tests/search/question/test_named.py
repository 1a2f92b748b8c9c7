"""The contract of every sampler and every pruner: how a study file names it, with its options, and how it is stored."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pydantic.fields import FieldInfo

from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.named import Named
from tunemax.search.question.pruners import Pruner
from tunemax.search.question.samplers import Sampler
from tunemax.search.question.schema import json_schema, study_file
from tunemax.search.question.study_file import define
from tunemax.search.question.yaml_lines import Fault, parse_yaml

CLASSES: list[type[Named]] = [*Sampler.known().values(), *Pruner.known().values()]
over_classes = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.family.key}:{cls.key}")


def plan(cls: type[Named], **options: Any) -> dict[str, Any]:
    """The plain data of a study file that names the class, with these options."""
    return {
        "question": "?",
        "base": {"schedule": "wsd"},
        "space": {"learning_rate": [1e-3, 1e-2]},
        "budget": {"horizon": 300} if getattr(cls, "is_grid", False) else {"trials": 16, "horizon": 300},
        "pruner": "none",
        cls.family.key: {"name": cls.key, **options} if options else cls.key,
    }


def chosen(definition: StudyDefinition, cls: type[Named]) -> Any:
    return getattr(definition, cls.family.key)


def another(info: FieldInfo) -> Any:
    """A valid value of an option that is not its default."""
    if isinstance(info.default, bool):
        return not info.default
    ends = [getattr(part, end) for part in info.metadata for end in ("ge", "gt", "le", "lt") if hasattr(part, end)]
    middle = sum(ends) / len(ends)
    return middle if isinstance(info.default, float) else round(middle)


@over_classes
def test_a_study_file_names_it_with_all_its_options(cls: type[Named], editor: jsonschema.Draft202012Validator) -> None:
    options = {name: another(cls.fields()[name]) for name in cls.options()}
    for data in (plan(cls), plan(cls, **options)):
        definition = define(data, name="q")
        assert type(chosen(definition, cls)) is cls
        assert define(parse_yaml(study_file(definition)).data, name="unused") == definition
        editor.validate(data)
    assert {name: getattr(chosen(definition, cls), name) for name in options} == options


@over_classes
def test_it_reads_back_from_a_storage(cls: type[Named]) -> None:
    options = {name: another(cls.fields()[name]) for name in cls.options()}
    definition = define(plan(cls, **options), name="q")
    assert StudyDefinition.from_json(definition.to_json()) == definition
    assert json.loads(definition.to_json())[cls.family.key]["name"] == cls.key


@over_classes
def test_options_that_it_does_not_have_are_refused(cls: type[Named]) -> None:
    with pytest.raises(Fault, match=f"{cls.family.key}.optoin: no such key here"):
        define(plan(cls, optoin=1), name="q")
    for option in cls.fields().keys() - {"name", *cls.options()}:
        with pytest.raises(Fault, match=f"{cls.family.key}: {cls.key} has no "):
            define(plan(cls, **{option: another(cls.fields()[option])}), name="q")


@over_classes
def test_its_help_is_where_an_editor_shows_it(cls: type[Named]) -> None:
    named = json_schema()["$defs"][cls.family.__name__]["properties"]["name"]
    assert f"{cls.key}: {cls.help}" in named["description"]
    assert cls.key in named["enum"]
    assert cls.help
    assert not cls.help.endswith("."), "it stands in a list"


def test_a_definition_is_stored_as_it_was_when_all_options_had_one_class() -> None:
    stored = json.loads(define(plan(Sampler.known()["random"]), name="q").to_json())
    assert stored["sampler"] == {"name": "random", "startup": None}
    assert list(stored["pruner"]) == ["name", "warmup", "startup", "reduction", "cooled", "spared"]


def test_a_name_is_taken_once() -> None:
    with pytest.raises(TypeError, match="sampler name 'tpe' is taken by Tpe"):
        type("Other", (Sampler,), {"__module__": __name__}, name="tpe")
