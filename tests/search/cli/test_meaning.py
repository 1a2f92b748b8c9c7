"""What means nothing where it stands is refused in one line, of every field that has a condition: as a flag, in a file
or for an environment. A study tells it and goes on: its base may be that of more candidates than it has today."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tunemax.envs.agents.scene import Scene
from tunemax.gpt.config import PARTS, SPELT, Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import FieldSpec, shown
from tunemax.search.cli import main
from tunemax.search.question.study_file import define

CONDITIONAL = [name for name, spec in all_specs().items() if spec.depends_on and name != SPELT]
every_field = pytest.mark.parametrize("name", CONDITIONAL)


def values(spec: FieldSpec) -> tuple[Any, ...]:
    return tuple(PARTS[spec.name].kinds()) if spec.name in PARTS else spec.options or (0.0,)


def contexts(name: str) -> Iterator[dict[str, Any]]:
    yield {}
    for other in sorted(all_specs()[name].depends_on):
        yield from ({other: value} for value in values(all_specs()[other]))


def ruling_out(name: str) -> dict[str, Any]:
    """What else is set, such that the field means nothing."""
    return next(given for given in contexts(name) if name not in Config.of(given).active())


def fault(name: str) -> str:
    return f"{name} = {shown(all_specs()[name].default)}: means nothing with "


def flags(given: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in given.items():
        words += [f"--{'' if value else 'no-'}{name}"] if isinstance(value, bool) else [f"--{name}", shown(value)]
    return words


@every_field
def test_a_flag(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *flags({**ruling_out(name), name: all_specs()[name].default})]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"tunemax: {fault(name)}")
    assert "; leave it out" in told
    assert told.count("\n") == 1


@every_field
def test_an_entry_of_a_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, rest = tmp_path / "fields.yaml", ruling_out(name)
    lines = {**rest, name: all_specs()[name].default}
    file.write_text("".join(f"{field}: {json.dumps(value)}\n" for field, value in lines.items()))
    assert main(["train", "--config", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"tunemax: {file}:{len(lines)}: {fault(name)}")


@every_field
def test_a_field_of_an_environment(name: str) -> None:
    ruled_out = Config.of(ruling_out(name)).active()
    beside = {other: ruled_out[other] for other in all_specs()[name].depends_on & ruled_out.keys()}
    config = {**beside, name: all_specs()[name].default}
    with pytest.raises(TunemaxError, match=f"^{fault(name)}"):
        Scene.of("Steer-v1", controls=["learning_rate"], config=config)


@every_field
def test_a_field_of_a_study(name: str) -> None:
    base = {**ruling_out(name), name: all_specs()[name].default}
    asked = {"question": "?", "space": {"learning_rate": "default"}, "budget": {"trials": 2, "horizon": 20}}
    (told,) = define({**asked, "base": base}, name="q").idle
    assert told.startswith(f"base.{name} changes nothing: it means something only if ")


def test_a_study_says_what_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "q.yaml"
    file.write_text(
        "question: '?'\nbase: {n_layer: 1, n_embd: 8, n_head: 1, block_size: 8, momentum: 0.5}\n"
        "space: {learning_rate: default}\nbudget: {trials: 1, horizon: 2}\n"
    )
    storage = str(tmp_path / "tunemax.db")
    assert main(["study", "create", str(file), "--storage", storage]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert (
        "q: base.momentum changes nothing: it means something only if optimizer is sgd or muon (it is adamw)." in told
    )


def test_what_the_command_line_has_ruled_out_of_a_file_is_no_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fields.yaml"
    file.write_text("optimizer: sgd\nmomentum: 0.8\nn_head: 0\n")  # the last is refused, so that nothing is trained
    assert main(["train", "--config", str(file), "--optimizer", "adamw"]) == 2
    assert "n_head" in capsys.readouterr().err
    file.write_text("optimizer: sgd\nmomentum: 0.8\n")
    assert main(["train", "--config", str(file), "--optimizer", "lion", "--momentum", "0.9"]) == 2
    told = (
        "tunemax: momentum = 0.9: means nothing with optimizer = lion; leave it out, or take optimizer = sgd or muon\n"
    )
    assert capsys.readouterr().err == told


def test_what_an_action_decides_is_refused_for_an_environment() -> None:
    with pytest.raises(TunemaxError, match=r"learn_gamma = true: actions move what SGD would, so it is false; leave"):
        Scene.of("Constantmax-v1", config={"constantmax.learn_gamma": True})
    assert Scene.of("Constantmax-v1", config={"constantmax.learn_gamma": False})
