"""The documents are true: links lead somewhere, commands parse, examples load, and nothing that they list is missing or
gone."""

import ast
import importlib.util
import re
import shlex
from fractions import Fraction
from pathlib import Path
from typing import Any

import pydantic
import pytest

from tunemax.gpt.config import PARTS, Config, all_specs
from tunemax.gpt.fields import shown
from tunemax.gpt.optimizer import Optimizer
from tunemax.gpt.parts import Part, specs_of_kinds
from tunemax.gpt.softmax import Variant, variants
from tunemax.search.cli.command_line import build
from tunemax.search.cli.flags import config_from
from tunemax.search.question.budget import Budget
from tunemax.search.question.definition import INNER, StudyDefinition
from tunemax.search.question.named import Named
from tunemax.search.question.packaged import packaged
from tunemax.search.question.pruners import Pruner
from tunemax.search.question.samplers import Sampler
from tunemax.search.question.stages import Confirm
from tunemax.search.question.study_file import load_study_file

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
STUDY_FILES = (ROOT / "docs/study_files.md").read_text()
OPTIMIZERS = (ROOT / "docs/optimizers.md").read_text()
VARIANTS = (ROOT / "docs/variants.md").read_text()
SPEC = importlib.util.spec_from_file_location("make_variants", ROOT / "docs/make_variants.py")
assert SPEC
assert SPEC.loader
make_variants = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_variants)
over_documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language; those that name none for an empty one."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == language]


def section(text: str, heading: str) -> str:
    """What stands under a heading of second rank."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows below the tables' heads, without backticks."""
    tables = re.findall(r"^\|.*\n\|---.*\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for table in tables
        for line in table.splitlines()
    ]


# ---- every document --------------------------------------------------------------------------------------------------


@over_documents
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    dead = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert not dead


@over_documents
def test_commands_and_their_values_are_possible(document: Path) -> None:
    lines = [line for block in blocks(document.read_text(), "") for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line.partition(" > ")[0], comments=True)
        if words and Path(words[0]).name == "tunemax":
            arguments = build().parse_args(words[1:])
            if words[1] == "train":
                given = config_from(arguments)
                Config.of(given).check_meant(given)


# ---- study files -----------------------------------------------------------------------------------------------------


@over_documents
def test_study_files_that_are_shown_can_be_run(document: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(document.read_text(), "yaml")):
        path = tmp_path / f"study_{number}.yaml"
        path.write_text(block)
        load_study_file(path)


def test_the_mistake_that_is_shown_is_what_one_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (message,) = blocks(STUDY_FILES, "text")
    Path("question.yaml").write_text(blocks(STUDY_FILES, "yaml")[0].replace("learning_rate", "learning_rte"))
    with pytest.raises(Exception, match="learning_rte") as caught:
        load_study_file("question.yaml")
    assert f"tunemax: {caught.value}\n" == message


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Keys", StudyDefinition),
        ("`budget`", Budget),
        ("`confirm`", Confirm),
        ("`sampler`", Sampler),
        ("`pruner`", Pruner),
    ],
    ids=str,
)
def test_every_key_is_described_with_its_default(heading: str, model: type[pydantic.BaseModel]) -> None:
    described = {row[0]: row[1] for row in rows(section(STUDY_FILES, heading)) if len(row) == 3}
    fields = model.fields() if issubclass(model, Named) else model.model_fields
    keys = {name: info for name, info in fields.items() if name not in INNER}
    assert list(described) == list(keys)
    for name, info in keys.items():
        default: Any = info.default
        if isinstance(default, Named):
            default = default.name
        if isinstance(default, bool):
            assert described[name] == str(default).lower()
        elif isinstance(default, (str, int)):
            assert described[name] == str(default)
        elif isinstance(default, float):
            assert float(Fraction(described[name])) == pytest.approx(default)


@pytest.mark.parametrize("family", [Sampler, Pruner])
def test_every_sampler_and_pruner_is_described(family: type[Named]) -> None:
    described = {row[0]: row[1] for row in rows(section(STUDY_FILES, f"`{family.key}`")) if len(row) == 2}
    assert described == {name: cls.help for name, cls in family.known().items()}


def test_every_way_to_write_a_dimension_is_one(tmp_path: Path) -> None:
    ways = [row[0] for row in rows(section(STUDY_FILES, "`space`"))]
    assert len(ways) == 4
    for way in ways:
        values = way.replace("a, b, c", "50, 100, 200")
        path = tmp_path / "study.yaml"
        base, space = "{softmax_variant: constantmax}", f"{{constantmax.gamma: {values}}}"
        path.write_text(f"question: a range\nbase: {base}\nspace: {space}\nbudget: {{trials: 1, horizon: 1}}")
        assert load_study_file(path).space


# ---- variants --------------------------------------------------------------------------------------------------------


def test_the_page_of_variants_is_made_of_what_they_declare() -> None:
    made = {path.name: path.read_text() for path in (ROOT / "docs/images/variants").iterdir()}
    again = "run .venv/bin/python docs/make_variants.py"
    assert make_variants.page() == VARIANTS, again
    assert all(f": {spec.help}\n" in VARIANTS for variant in variants().values() for spec in variant.specs())
    assert {f"{one.name}.svg": make_variants.picture(one) for one in variants().values()} == made, again


@pytest.mark.parametrize("variant", variants().values(), ids=lambda variant: variant.name)
def test_a_variant_is_described_with_its_source_and_parameters(variant: type[Variant]) -> None:
    text = section(VARIANTS, f"`{variant.name}`")
    assert f"Source: {variant.source}." in text
    assert all(f"`{alias}`" in text for alias in variant.aliases)
    parameters = re.findall(r"^- `(.*)` = ([^:\n]*)", text, flags=re.MULTILINE)
    assert parameters == [(name, shown(info.default)) for name, info in variant.model_fields.items()]


@pytest.mark.parametrize("family", [part for part in PARTS.values() if part not in (Variant, Optimizer)])
def test_every_part_is_described_with_its_fields_and_no_other(family: type[Part]) -> None:
    page = (ROOT / "docs/parts.md").read_text()
    text = section(page, f"`{family.field}`")
    fields = {spec.name for spec in specs_of_kinds(family)}
    described = re.findall(r"^- `(.*?)`", text, flags=re.MULTILINE)
    assert sorted(name for name in described if name not in fields) == sorted(family.kinds())
    assert all(f"`{alias}`" in text for kind in family.kinds().values() for alias in kind.aliases)
    assert all(f"`{name}`" in page for name in fields)


# ---- optimizers ------------------------------------------------------------------------------------------------------


def test_every_optimizer_is_described_and_no_other() -> None:
    described = re.findall(r"^## `(.*)`$", OPTIMIZERS, flags=re.MULTILINE)
    assert sorted(described) == sorted(Optimizer.kinds()), "give each of gpt/optimizer a section in docs/optimizers.md"


@pytest.mark.parametrize("optimizer", Optimizer.kinds().values(), ids=lambda optimizer: optimizer.name)
def test_an_optimizer_is_described_with_its_source_fields_and_defaults(optimizer: type[Optimizer]) -> None:
    text = " ".join(section(OPTIMIZERS, f"`{optimizer.name}`").split())
    assert f"Source: {optimizer.source}." in text
    fields = text.partition("Fields: ")[2].partition(". ")[0]
    assert re.findall(r"`(\w+)`", fields) == sorted(optimizer.model_fields, key=list(all_specs()).index)
    defaults = [f"`{name}` {shown(value)}" for name, value in optimizer.defaults.items()]
    assert (f"Defaults of its own: {', '.join(defaults)}." in text) == bool(defaults)


# ---- the map ---------------------------------------------------------------------------------------------------------


def test_the_map_of_the_rooms_is_what_they_say_of_themselves() -> None:
    named = dict(rows(section((ROOT / "CONTRIBUTING.md").read_text(), "Where things live")))
    packages = [path for floor in ("gpt", "envs", "search") for path in (ROOT / floor).rglob("__init__.py")]
    said = {path: str(ast.get_docstring(ast.parse(path.read_text()))).partition("\n")[0] for path in packages}
    assert named == {f"{path.parent.relative_to(ROOT)}/": line.replace("`", "") for path, line in said.items()}


@pytest.mark.parametrize(
    "path", [path for floor in ("gpt", "envs", "search") for path in (ROOT / floor).rglob("*.py")], ids=str
)
def test_every_file_says_in_its_first_line_what_is_in_it(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


# ---- answers ---------------------------------------------------------------------------------------------------------

RESULTS = (ROOT / "docs/results.md").read_text()


@pytest.mark.parametrize("answer", RESULTS.split("\n## ")[1:], ids=lambda text: str(text).partition(":")[0])
def test_an_answer_has_its_command_its_figures_and_a_picture(answer: str) -> None:
    """In this order, after a sentence that says it: whoever reads a figure can have it again."""
    study = answer.partition(":")[0]
    assert study in packaged()
    fenced = re.findall(r"^```(\w*)$", answer, flags=re.MULTILINE)
    assert fenced[:4] == ["", "", "text", ""]
    assert re.search(r"\n\n\*\*[^*]+\.\*\*\n\n```\n", answer)
    assert f"tunemax study run {study}\n" in blocks(answer, "")[0]
    (figures,) = blocks(answer, "text")
    described = load_study_file(packaged()[study]).compare
    assert all(figures.count(f"\n{value} ") or figures.startswith(str(value)) for value in described)
    assert f"](images/results_{study}.png)" in answer
    for value in re.findall(r"\d+\.\d+", answer.split("```")[0]):
        assert value in figures, f"{value} stands in no table below"
