"""Optuna's own tests of a storage, over ours and over our cache of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from optuna.testing.pytest_storages import StorageTestCase

from tunemax.search.storage.cache import TrialCache
from tunemax.search.storage.database import open_storage


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> Iterator[RDBStorage]:
    storage = open_storage(shutil.copyfile(empty_database, tmp_path / "studies.db"), create=False)
    yield storage
    storage.engine.dispose()


class TestDatabase(StorageTestCase):
    @pytest.fixture
    def storage(self, database: RDBStorage) -> RDBStorage:
        return database


class TestCache(StorageTestCase):
    @pytest.fixture
    def storage(self, database: RDBStorage) -> TrialCache:
        return TrialCache(database)
