"""What every test needs: one thread a process, and data in a folder of the test session."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data lands here, never in the user's own cache."""
    folder = tmp_path_factory.mktemp("data")
    patch = pytest.MonkeyPatch()
    patch.setenv("TUNEMAX_DATA", str(folder))
    return folder
