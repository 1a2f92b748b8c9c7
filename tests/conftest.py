"""What every test needs: one thread a process, data in a folder of the test session, and patience with a slow
machine."""

import signal
import threading
from pathlib import Path

import hypothesis
import pytest
import torch

from tunemax.gpt import matmul
from tunemax.gpt.files import write_whole

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # A shell script that starts the tests with & has them ignore Ctrl-C, and so would every command that they start and
    # interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says how busy the machine is, and nothing about what is tested.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data lands here, never in the user's own cache."""
    folder = tmp_path_factory.mktemp("data")
    patch = pytest.MonkeyPatch()
    patch.setenv("TUNEMAX_DATA", str(folder))
    patch.delenv("COLUMNS", raising=False)  # of whoever runs the tests; what is printed depends on it
    known = matmul.Measured(route="default", reason="tests compare processes with each other", gflops=80, errors={})
    write_whole(matmul.memory_of_it(), known.model_dump_json().encode())
    return folder
