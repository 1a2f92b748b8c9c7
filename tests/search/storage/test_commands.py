"""Commands that are shown can be typed as they stand: with their storage, quoted, and without passwords."""

import shlex
from pathlib import Path

import pytest

from tunemax.gpt.config import Config
from tunemax.search.cli.command_line import build
from tunemax.search.cli.flags import config_from
from tunemax.search.storage.commands import stock, training, typed
from tunemax.search.storage.urls import storage_url


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNEMAX_STORAGE", raising=False)
    return tmp_path


def test_the_usual_storage_is_not_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed("tunemax.db", "study", "run", "q") == "tunemax study run q"
    assert typed(str(storage_url("tunemax.db")), "study", "run", "q") == "tunemax study run q"
    (here / "studies").mkdir()  # before the first database
    assert typed("studies/tunemax.db", "report", "q") == "tunemax report q"
    (here / "tunemax.db").touch()  # and what is there is found again
    assert typed("tunemax.db", "report", "q") == "tunemax report q"
    (here / "studies" / "tunemax.db").touch()
    assert typed("studies/tunemax.db", "report", "q") == "tunemax report q"
    monkeypatch.setenv("TUNEMAX_STORAGE", "postgresql://me:secret@host/db")
    assert typed("postgresql://me:secret@host/db", "report", "q") == "tunemax report q"


def test_another_storage_is_named_as_it_was_typed_and_quoted(here: Path) -> None:
    assert typed("my studies.db", "report", "q") == "tunemax report q --storage 'my studies.db'"
    assert typed("tunemax.db", "study", "run", "other/q.yaml", default="other/tunemax.db").endswith(" tunemax.db")
    assert typed(f"sqlite:///{here}/s.db", "report", "q") == f"tunemax report q --storage {here}/s.db"


def test_a_password_belongs_into_the_environment() -> None:
    where = "postgresql://me:secret@host/db"
    assert typed(where, "report", "q") == "tunemax report q (with TUNEMAX_STORAGE set)"
    assert stock(where, "studies") == "optuna studies (with OPTUNA_STORAGE set)"


def test_a_url_without_a_password_is_named_with_its_options() -> None:
    where = "postgresql://me@host/db?sslmode=require"
    assert shlex.split(typed(where, "report", "q")) == ["tunemax", "report", "q", "--storage", where]
    assert shlex.split(stock(where, "studies")) == ["optuna", "studies", "--storage", where]


def test_a_stock_command_takes_a_url(here: Path) -> None:
    words = shlex.split(stock("a b.db", "tell", "--state", "fail"))
    assert words == ["optuna", "tell", "--storage", f"sqlite:///{here}/a b.db", "--state", "fail"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"softmax_variant": "polymax", "polymax.power": 2.5, "learning_rate": 3e-3},
        {"bias": True, "tie_weights": False, "n_layer": 3, "compile": False, "dataset": "my text.txt"},
    ],
)
def test_a_training_is_typed_so_that_it_trains_the_same(given: dict[str, object]) -> None:
    config = Config.of(given)
    assert Config.of(config_from(build().parse_args(training(config.flat())[1:]))) == config
