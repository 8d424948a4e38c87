"""What tests may not do, looked for in their source."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "time", "time_ns"}


def reads_clock(node: ast.AST, known: set[str]) -> bool:
    """Whether an expression reads the real clock, by itself or through a variable."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in known:
            return True
        called = part.func if isinstance(part, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in CLOCKS and getattr(called.value, "id", "") == "time":
            return True
    return False


def timed_assertions(tree: ast.AST) -> Iterator[int]:
    """Lines of assertions about the real clock, function by function."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        known: set[str] = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and reads_clock(node.value, known):
                known |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        asserted = (node for node in ast.walk(function) if isinstance(node, ast.Assert))
        yield from (node.lineno for node in asserted if reads_clock(node.test, known))


def fixed_ports(tree: ast.AST) -> Iterator[int]:
    """Lines that name a port of this machine, as a constant or as an argument."""
    for node in ast.walk(tree):
        names = [getattr(target, "id", "") for target in node.targets] if isinstance(node, ast.Assign) else []
        names += [node.arg or ""] if isinstance(node, ast.keyword) else []
        value = getattr(node, "value", None)
        is_number = isinstance(value, ast.Constant) and type(value.value) is int and value.value > 0
        if is_number and any(name.lower().split("_")[-1] == "port" for name in names):
            yield value.lineno


@pytest.mark.parametrize(
    ("look", "source"),
    [
        (timed_assertions, "def test():\n    assert time.monotonic() < 3"),
        (timed_assertions, "async def test():\n    begin = time.time()\n    assert 1 < time.time() - begin"),
        (timed_assertions, "def test():\n    took = time.perf_counter() - 1\n    assert took < 3"),
        (fixed_ports, "PORT = 18431"),
        (fixed_ports, "serve(host='127.0.0.1', port=8000)"),
    ],
)
def test_what_is_looked_for_is_found(look, source):
    assert list(look(ast.parse(source)))


@pytest.mark.parametrize("look", [timed_assertions, fixed_ports])
def test_no_test_asserts_on_time_or_takes_a_fixed_port(look):
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 100
    found = [f"{file.relative_to(TESTS)}:{line}" for file in files for line in look(ast.parse(file.read_text("utf-8")))]
    assert found == []


def test_no_folder_has_more_than_fifteen_modules():
    root = TESTS.parent / "hydra_ray"
    modules = Counter(path.parent for path in root.rglob("*.py") if path.name != "__init__.py")
    assert len(modules) > 30
    full = {str(folder.relative_to(root)): count for folder, count in modules.items() if count > 15}
    assert full == {}, "find out what belongs together, and give it a folder of its own"
