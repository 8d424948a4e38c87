"""What `pytest --fast` leaves out, and that it does so wherever a test reaches for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Where each test asks for what is heavy; the rest is light.
FILES = {
    "test_light.py": "import json\ndef test_runs(): assert json.loads('1') == 1",
    "test_at_import.py": "import torch\ndef test_never(): assert False",
    "test_through_others.py": "import hydra_ray.models.scorer\ndef test_never(): assert False",
    "test_when_run.py": """
import subprocess, sys
import pytest

@pytest.fixture
def cluster():
    import ray

def test_in_a_fixture(cluster): assert False

def test_in_its_body():
    try:
        import transformers
    except ImportError:
        pass
    assert False

def test_in_another_python():
    subprocess.run([sys.executable, "-c", "import torch"])
    assert False

def test_in_another_program(): assert subprocess.run(["true"]).returncode == 0
""",
    # The last to run.
    "test_zz_modules.py": """
import sys

def test_nothing_heavy_was_imported(): assert not {"torch", "ray", "transformers"} & set(sys.modules)
""",
}


def run(path, *options):
    """Tests a folder or a file of it in a process of its own, which finds what lies beside this project's tests."""
    folder = path if path.is_dir() else path.parent
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *options, str(path)]
    places = os.pathsep.join(map(str, (TESTS, TESTS.parent, folder)))
    environment = {**os.environ, "PYTHONPATH": places}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_whoever_imports_what_is_heavy_is_left_out_and_nobody_else(folder):
    done = run(folder, "-p", "fast", "--fast")
    assert done.returncode == 0, done.stdout
    passed = {line.split("::")[-1] for line in done.stdout.splitlines() if line.startswith("PASSED")}
    assert passed == {"test_runs", "test_in_another_program", "test_nothing_heavy_was_imported"}
    assert "3 passed, 5 skipped" in done.stdout
    for reason in ("imports torch", "imports ray", "imports transformers", "starts another Python"):
        assert f"--fast: {reason}" in done.stdout


def test_what_the_tests_share_is_light(folder):
    """`tests/conftest.py` and its plugins are loaded with whatever is tested."""
    (folder / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    done = run(folder / "test_zz_modules.py", "--fast")
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout
    assert run(folder / "test_light.py").returncode == 0


def test_it_is_refused_where_something_heavy_is_there_already(folder):
    (folder / "early.py").write_text("import torch")
    done = run(folder / "test_light.py", "-p", "fast", "-p", "early", "--fast")
    assert done.returncode == 4
    assert "--fast comes too late: torch" in done.stderr
