"""Each lock satisfies what it locks, and `uv` makes the same one of it."""

import ast
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from code_blocks import ROOT
from locks import PROJECT, Lock, made_locks, wanted
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = {str(lock.path.relative_to(ROOT)): lock for lock in made_locks()}
CPU, GPU = (LOCKS[f"docker/{target}.lock"] for target in ("cpu", "gpu"))


def names(lock: Lock) -> set[str]:
    return set(lock.versions)


def test_all_locks_are_made():
    there = {str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.lock"), *(ROOT / "docker").glob("*.lock")]}
    assert there <= set(LOCKS)
    assert "requirements.lock" in LOCKS


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_locked_at_a_version_that_fits(name):
    locked = LOCKS[name].versions
    asked = list(wanted(LOCKS[name]))
    assert asked
    fits = {str(one): one.specifier.contains(locked.get(canonicalize_name(one.name), "0"), True) for one in asked}
    unmet = [one for one, fitting in fits.items() if not fitting]
    assert unmet == []


def test_the_cpu_image_has_the_versions_that_tests_ran_with():
    tested = LOCKS["requirements.lock"].versions
    assert CPU.versions.items() <= tested.items()


def test_images_hold_no_tools_of_developers_and_one_faiss_and_torch_each():
    runtime = {canonicalize_name(Requirement(one).name) for one in PROJECT["dependencies"]}
    tools = {canonicalize_name(Requirement(one).name) for one in PROJECT["optional-dependencies"]["dev"]} - runtime
    for lock in (CPU, GPU):
        # vLLM itself wants these two.
        assert names(lock) & tools - {"httpx", "psutil"} == set()
    assert {"faiss-cpu", "faiss-gpu"} & names(CPU) == {"faiss-cpu"}
    assert {"faiss-cpu", "faiss-gpu"} & names(GPU) == {"faiss-gpu"}
    assert CPU.versions["torch"].endswith("+cpu")
    assert "+" not in GPU.versions["torch"]
    assert not [name for name in names(CPU) if name.startswith(("nvidia-", "triton"))]


def test_the_package_imports_only_what_it_requires():
    # In every extra there is, developers' tools aside; a package that only tests bring breaks whoever installs ours.
    extras = [
        canonicalize_name(Requirement(one).name)
        for extra, ones in PROJECT["optional-dependencies"].items()
        if extra != "dev"
        for one in ones
    ]
    allowed = names(CPU) | set(extras) | {"vllm"}
    distributions = packages_distributions()
    missing = {}
    for path in sorted((ROOT / "hydra_ray").rglob("*.py")):
        for top in imported(path):
            if top in sys.stdlib_module_names or top == "hydra_ray":
                continue
            providers = {canonicalize_name(one) for one in distributions.get(top, [top])}
            if not providers & allowed:
                missing[top] = str(path.relative_to(ROOT))
    assert missing == {}


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, within functions as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.fixture(scope="module")
def package_index() -> None:
    """Skips what needs a package index where none is reached."""
    uv = [str(ROOT / ".cache" / "uv" / "bin" / "uv"), "pip", "compile", "--quiet", "--no-cache", "-"]
    asked = subprocess.run(uv, input="iniconfig", capture_output=True, text=True, check=False)
    if asked.returncode:
        pytest.skip(f"no package index can be reached: {asked.stderr.strip().splitlines()[-1]}")


@pytest.mark.usefixtures("package_index")
@pytest.mark.parametrize("name", LOCKS)
def test_uv_makes_the_same_lock_again(name, tmp_path):
    lock = LOCKS[name]
    again = tmp_path / "again.lock"
    shutil.copy(lock.path, again)
    command = [str(again) if word == name else word for word in lock.command]
    assert str(again) in command
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert again.read_text() == lock.path.read_text()
