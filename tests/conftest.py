"""What every test needs: one thread a process, data in a folder of the test session, and patience with a slow machine."""

from pathlib import Path

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
# How long an example takes says how busy the machine is, and nothing about what is tested.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data lands here, never in the user's own cache."""
    folder = tmp_path_factory.mktemp("data")
    patch = pytest.MonkeyPatch()
    patch.setenv("TUNEMAX_DATA", str(folder))
    return folder
