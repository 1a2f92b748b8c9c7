"""Plug-ins: what one brings is as good as built in, and what cannot be had leaves nothing behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from plugged import HEAD, HOT, forgetting, written

from tunemax.gpt import plugins, run
from tunemax.gpt.checkpoint import load, save
from tunemax.gpt.compile.step import _elsewhere
from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.plugins import loading
from tunemax.gpt.plugins.global_rng import GlobalRng
from tunemax.gpt.softmax import Variant, variants
from tunemax.gpt.testing.tiny import small, trained

EARLIER = tuple(variants())
NORM = '''"""A plug-in."""

from tunemax.gpt.fields import setting
from tunemax.gpt.norm.rms import RmsNorm


class Warm(RmsNorm, name="warm"):
    """RMSNorm."""

    {field}: float = setting(1.0, "a field", shared=True)
'''
REFUSED = {
    "raises": (f"{HEAD}\n1 / 0\n", 7, "ZeroDivisionError: division by zero"),
    "ends the process": (f"{HEAD}\nraise SystemExit(3)\n", 7, "SystemExit: 3"),
    "no Python": (f"{HEAD}\nclass Hot(Variant:\n", 7, "SyntaxError: "),
    "a zero byte": (f"{HEAD}\0\n", 1, "null bytes"),
    "name of another": (HEAD + HOT.replace('"hot"', '"constantmax"'), 8, "'constantmax' is taken by Constantmax"),
    "alias of another": (HEAD + HOT.replace('"heated"', '"consmax"'), 8, "'consmax' is taken by Constantmax"),
    "name of no file": (HEAD + HOT.replace('"hot"', '"../hot"'), 8, "expected at most 40 letters a-z, digits and _"),
    "no weights": (HEAD + HOT.replace("def weights", "def weight"), 8, "Hot lacks weights"),
    "no source": (HEAD + HOT.replace('    source = "here"\n', ""), 8, "Hot lacks source"),
    "nothing": (HEAD, 1, "registers no part"),
    "field of all": (NORM.format(field="learning_rate"), 7, "every training has a field of this name"),
    "field of another": (NORM.format(field="beta1"), 7, "optimizer adamw has a field of this name"),
    "Python's generator": (f"{HEAD}\nimport random\n\nrandom.seed(917)\n{HOT}", 9, "the global generator of random"),
    "numpy's generator": (f"{HEAD}{HOT}\nimport numpy\nX = numpy.random.rand()\n", 19, "generator of numpy.random"),
    "torch's generator": (f"{HEAD}\nfrom tunemax.gpt.lazy import torch\ntorch.manual_seed(5)\n{HOT}", 8, "of torch"),
}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgetting():
        yield


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_had_is_one_line_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    text, line, reason = REFUSED[kind]
    path = written(tmp_path, text)
    specs, modules, environment = dict(all_specs()), set(sys.modules), dict(os.environ)
    states = GlobalRng.now()
    for _ in range(2):  # a second time it is what it was
        with pytest.raises(TunemaxError) as caught:
            plugins.load(path)
        said = str(caught.value)
        assert said.startswith(f"{path}:{line}: "), said
        assert reason in said
        assert "\n" not in said
    assert tuple(variants()) == EARLIER
    assert all_specs() == specs
    assert not {name for name in sys.modules if "hot_variant" in name} - modules
    assert dict(os.environ) == environment
    assert states.moved() is None


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("nowhere.py", "no such file"),
        ("folder.py", "a folder"),
        ("notes.txt", "not a Python file"),
        ("gone.txt", "no such module is installed, and no file is called so"),
        ("two words.py", "cannot name a plug-in"),
        ("no_such_module", "no such module is installed"),
        ("no_such.module", "no such module is installed"),
        ("beside", r"to name the file that is here, write ./beside.py"),
    ],
)
def test_what_is_no_plug_in_is_one_line(
    named: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.py").mkdir()
    for name in ("notes.txt", "two words.py", "beside.py"):
        Path(name).write_text("")
    with pytest.raises(TunemaxError, match=reason):
        plugins.load(named)


def test_a_part_is_as_good_as_built_in_until_it_is_forgotten(tmp_path: Path) -> None:
    path = written(tmp_path)
    plugin = plugins.load(path)
    assert plugins.load(path) is plugin
    assert (plugin.name, len(plugin.digest), plugin.word) == ("hot_variant", 64, str(path))
    assert "hot" in all_specs()["softmax_variant"].valid()
    assert Config.of({"softmax_variant": "heated", "heated.heat": "3"}).softmax.heat == 3  # type: ignore[attr-defined]
    assert all_specs()["attention_sink"].active({"softmax_variant": "hot"})
    assert str(path) in os.environ[plugins.PLUGINS].split(os.pathsep)
    plugins.unload("hot_variant")
    assert tuple(variants()) == EARLIER
    assert "hot.heat" not in all_specs()
    with pytest.raises(TunemaxError, match="no such variant"):
        Config.of({"softmax_variant": "hot"})


def test_a_plug_in_that_has_changed_or_has_a_namesake_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    plugins.load(path)
    (tmp_path / "copy").mkdir()
    assert plugins.load(written(tmp_path / "copy")).word == str(path)
    with pytest.raises(TunemaxError, match=r"a plug-in of the name hot_variant is loaded from .*; rename one"):
        plugins.load(written(tmp_path / "copy", f"{HEAD}{HOT}\n"))
    written(tmp_path, f"{HEAD}{HOT}\n")
    with pytest.raises(TunemaxError, match="has changed since this process has loaded it"):
        plugins.load(path)


def test_a_part_of_a_part_needs_both(tmp_path: Path) -> None:
    one = plugins.load(written(tmp_path))
    hotter = 'from tunemax_plugin_hot_variant import Hot\n\n\nclass Hotter(Hot, name="hotter"):\n    """More."""\n'
    other = plugins.load(written(tmp_path, hotter, name="hotter_variant"))
    assert [each.name for each in plugins.behind(other.kinds)] == [one.name, other.name]
    assert plugins.behind(one.kinds) == [one]
    assert [record.kinds for record in plugins.records(other.kinds)] == [(), ("softmax_variant = hotter",)]


def test_the_environment_and_installed_packages_name_plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hot_package").mkdir()
    (tmp_path / "hot_package/__init__.py").write_text("")
    (tmp_path / "hot_package/parts.py").write_text(HEAD + HOT)
    entry = SimpleNamespace(module="hot_package.parts")
    chosen = SimpleNamespace(select=lambda group: [entry] if group == "tunemax.softmax" else [])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(loading, "entry_points", lambda: chosen)
    monkeypatch.setenv(plugins.PLUGINS, os.pathsep.join(["", str(written(tmp_path, NORM.format(field="warmth")))]))
    loading._installed.cache_clear()
    try:
        plugins.load_named()
        assert {"hot_package.parts", "hot_variant"} <= plugins.loaded().keys()
        assert {"softmax_variant": "hot", "norm": "warm", "warmth": 1.0}.items() <= Config.of(
            {"softmax_variant": "hot", "norm": "warm"}
        ).flat().items()
        digest = plugins.loaded()["hot_package.parts"].digest
        assert plugins.told() == []
        plugins.unload("hot_package.parts")
        (tmp_path / "hot_package/parts.py").write_text(f"{HEAD}{HOT}# another\n")
        plugins.load_named()
        assert plugins.loaded()["hot_package.parts"].digest != digest
    finally:
        loading._installed.cache_clear()


def test_a_checkpoint_and_a_run_know_what_they_were_made_with(tmp_path: Path, text: Path) -> None:
    path = written(tmp_path)
    plugin = plugins.load(path)
    trainer, member = trained(small(softmax_variant="hot"), 1)
    save(trainer.snapshot(member), tmp_path / "member", "text")
    config = small(softmax_variant="hot", dataset=str(text), out_dir=str(tmp_path / "run"), tensorboard=False)
    folder = run.train(config.replace({"max_iters": 2}), lambda row: None).folder
    assert load(tmp_path / "member").config == member.config
    plugins.unload("hot_variant")
    doors: list[Callable[[], object]] = [lambda: load(tmp_path / "member"), lambda: run.recorded(folder)]
    needs = rf"needs the plug-in hot_variant \(sha256 {plugin.digest[:12]}\), for softmax_variant = hot, which is not"
    for door in doors:
        with pytest.raises(TunemaxError, match=needs):
            door()
    plugins.load(written(tmp_path, f"{HEAD}{HOT}\n"))
    for door in doors:
        with pytest.raises(TunemaxError, match=f"made with the plug-in hot_variant .* and {path} is another"):
            door()


def test_a_compiled_function_is_kept_by_the_code_of_its_plug_in(tmp_path: Path) -> None:
    codes = []
    for text in (HEAD + HOT, f"{HEAD}{HOT}\n"):
        plugin = plugins.load(written(tmp_path, text))
        assert plugin.digest in _elsewhere(plugin.kinds[0])
        codes.append(_elsewhere(plugin.kinds[0]))
        plugins.unload(plugin.name)
    assert codes[0] != codes[1]
    assert _elsewhere(Variant) == ""
