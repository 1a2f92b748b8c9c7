"""Files as rows, on every kind of database: whole or not at all, told when damaged, and nobody's table before that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage import rows
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.rows import FILES, any_there, get, put, remove, sizes

Opened = Callable[[], optuna.storages.RDBStorage]


@pytest.fixture
def storage(anywhere: str) -> optuna.storages.RDBStorage:
    return open_storage(anywhere, create=True)


def tables(storage: optuna.storages.RDBStorage) -> set[str]:
    return set(sqlalchemy.inspect(storage.engine).get_table_names())


def test_the_table_is_made_when_a_file_is_first_put_there(storage: optuna.storages.RDBStorage, anywhere: str) -> None:
    before = tables(storage)
    assert not any_there(storage)
    assert get(storage, "q/00000/a") is None
    assert sizes(storage) == {}
    assert remove(storage, ["q/00000/a"]) == 0
    assert tables(storage) == before
    put(storage, "q/00000/a", b"one")
    assert tables(storage) == before | {FILES.name}
    assert get(storage, "q/00000/a") == b"one"
    put(storage, "q/00000/b", b"")
    assert get(storage, "q/00000/b") == b""
    assert get(open_storage(anywhere, create=False), "q/00000/a") == b"one"


def test_a_file_in_many_parts_comes_back_as_it_was(storage: optuna.storages.RDBStorage) -> None:
    """Of more bytes than a server's packet has by default."""
    large = bytes(range(256)) * (20 << 12)
    assert len(large) > 20e6
    put(storage, "q/00000/large", large)
    assert get(storage, "q/00000/large") == large
    put(storage, "q/00000/large", large[: 3 << 20])
    assert get(storage, "q/00000/large") == large[: 3 << 20], "in place of the one before"
    assert sizes(storage) == {"q/00000/large": 3 << 20}
    assert remove(storage, ["q/00000/large", "q/00000/none"]) == 3 << 20
    assert sizes(storage) == {}
    with storage.engine.begin() as connection:
        assert connection.execute(FILES.select()).first() is None


def test_what_is_damaged_is_told_in_one_line(
    storage: optuna.storages.RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PART", 4)
    for name in ("cut", "lost", "changed"):
        put(storage, name, b"0123456789")
    with storage.engine.begin() as connection:
        connection.execute(FILES.delete().where(FILES.c.name == "cut", FILES.c.part == 2))
        connection.execute(FILES.delete().where(FILES.c.name == "lost", FILES.c.part == 0))
        changed = FILES.update().where(FILES.c.name == "changed", FILES.c.part == 1)
        connection.execute(changed.values(content=b"xxxx"))
    with pytest.raises(TunemaxError, match=r"^cut: truncated in the database \(8 of 10 bytes\)$"):
        get(storage, "cut")
    with pytest.raises(TunemaxError, match=r"^lost: truncated in the database \(6 of 10 bytes\)$"):
        get(storage, "lost")
    with pytest.raises(TunemaxError, match=r"^changed: damaged in the database \(its sha256 is another one\)$"):
        get(storage, "changed")


def test_a_file_that_is_too_large_is_refused(where: str, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(empty_database, where)
    storage = open_storage(where, create=False)
    monkeypatch.setattr(rows, "MOST", 5)
    with pytest.raises(TunemaxError, match=r"^big: .* MB are too many for rows; share the folder of runs"):
        put(storage, "big", b"123456")
    assert not any_there(storage)


def test_stock_optuna_works_beside_it(storage: optuna.storages.RDBStorage, anywhere: str) -> None:
    put(storage, "q/00000/a", b"one")
    url = str(storage.engine.url.render_as_string(hide_password=False))
    stock = optuna.storages.RDBStorage(url)
    study = optuna.create_study(storage=stock, study_name="stock")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    stock.upgrade()
    optuna.delete_study(study_name="stock", storage=stock)
    assert get(storage, "q/00000/a") == b"one"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=40), part=st.integers(1, 9))
def test_any_content_in_parts_of_any_size(where: str, empty_database: Path, content: bytes, part: int) -> None:
    if not Path(where).exists():
        shutil.copyfile(empty_database, where)
    storage = open_storage(where, create=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "PART", part)
        put(storage, "x", content)
    assert get(storage, "x") == content
    assert sizes(storage) == {"x": len(content)}
    storage.engine.dispose()
