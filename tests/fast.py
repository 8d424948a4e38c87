"""`pytest --fast`: the tests that start neither torch nor Ray nor another Python.

Nobody keeps a list of them: what a test imports decides. An import of a heavy package skips whoever asks for it, which
is a file while tests are collected and a single test, or each test with that fixture, while they run. So does a
process of Python, because it would import what this one may not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder

import pytest

HEAVY = ("ray", "torch", "transformers")


class HeavyImportSkips(MetaPathFinder):
    """The finder of modules that skips the test, or the file of tests, which imports a heavy package."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> None:
        """Raise pytest's skip for a heavy package; every other module is left to the finders after this one."""
        if fullname.partition(".")[0] in HEAVY:
            pytest.skip(f"--fast: imports {fullname}", allow_module_level=True)


def skip_python_process(event: str, arguments: tuple) -> None:
    """Audit hook that skips the test which starts another Python."""
    if event == "subprocess.Popen" and os.fsdecode(arguments[0]) == sys.executable:
        pytest.skip("--fast: starts another Python", allow_module_level=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast", action="store_true", help="Skip tests that import torch, transformers or Ray or start another Python."
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--fast"):
        return
    if early := sorted(set(HEAVY) & set(sys.modules)):
        raise pytest.UsageError(f"--fast comes too late: {', '.join(early)} imported before the tests are collected")
    sys.meta_path.insert(0, HeavyImportSkips())
    sys.addaudithook(skip_python_process)
