"""The contract of parts as tests: what every kind keeps, built in or of a plug-in; also a plug-in of pytest.

With ``pytest -p tunemax.gpt.testing`` a test that takes ``contract`` is run once for each promise and setting of every
part of the plug-ins that are loaded::

    from tunemax.gpt import plugins

    plugins.load("my_variant.py")

    def test_contract(contract):
        contract()
"""

from __future__ import annotations

from typing import Any

from tunemax.gpt.plugins import loaded
from tunemax.gpt.testing.contract import Case, breaches, cases

__all__ = ["Case", "breaches", "cases", "pytest_generate_tests"]


def pytest_generate_tests(metafunc: Any) -> None:
    """pytest's hook."""
    if "contract" in metafunc.fixturenames:
        found = list(cases(kind for plugin in loaded().values() for kind in plugin.kinds))
        metafunc.parametrize("contract", [case.run for case in found], ids=[str(case) for case in found])
