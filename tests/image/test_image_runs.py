"""The CPU image without a builder of images: docker/install.sh into a bare folder, and the demo from there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from code_blocks import ROOT

# The whole flow, at a size that shows that it runs and nothing else.
SMALL = (
    "data.train_users=8",
    "data.dev_users=6",
    "data.history=12",
    "data.queries=2",
    "feedback.pseudo_queries=3",
    "base.epochs=1",
    "fit.steps=10",
    "evaluate.methods=[zero-shot,hydra]",
    "evaluate.bootstrap=100",
)
# How uv and pip say that they reach no index.
UNREACHED = (
    "Failed to fetch",
    "error sending request",
    "No matching distribution",
    "Temporary failure in name resolution",
)


def bare_environment(home: Path) -> dict[str, str]:
    """What an image has: no variable of this environment but what finds packages and certificates."""
    kept = ("PIP_", "UV_", "SSL_", "REQUESTS_CA")
    named = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    return {**named, "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)}


def run(command: list[str], **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def let_in(folder: Path) -> Path:
    """A copy of what a builder of images gets to see, which is what the Dockerfile copies."""
    folder.mkdir()
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    left_out = shutil.ignore_patterns(*(rule.removeprefix("**/") for rule in rules if rule.startswith("**/")))
    for name in (rule[1:] for rule in rules if rule.startswith("!")):
        found = ROOT / name
        if found.is_dir():
            shutil.copytree(found, folder / name, ignore=left_out)
        else:
            shutil.copy(found, folder / name)
    return folder


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment of the CPU image."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "bin").mkdir()
    # The image's python3, in this test the one of the tests.
    (folder / "bin" / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    # The user's own cache of uv: packages that are there are linked, not fetched.
    cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
    environment = {**bare_environment(folder), "TOOLS": str(folder / "tools"), "UV_CACHE_DIR": cache}
    environment["PATH"] = f"{folder / 'bin'}:{environment['PATH']}"
    prefix = folder / "prefix"
    script = let_in(folder / "src") / "docker" / "install.sh"
    for words in (
        ["locked", "cpu", str(prefix)],
        ["wheel", str(folder / "dist")],
        ["package", str(folder / "dist"), str(prefix)],
        ["check", "cpu", str(prefix)],
    ):
        done = run([str(script), *words], env=environment, cwd=folder)
        if done.returncode and words[0] == "locked" and any(said in done.stderr for said in UNREACHED):
            pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "tools")
    return prefix


def test_the_whole_demo_runs_from_it(prefix: Path, tmp_path: Path):
    command = [str(prefix / "bin" / "hydra-ray"), "demo", "--out", str(tmp_path / "demo"), *SMALL]
    done = run(command, env={**bare_environment(tmp_path), "COLUMNS": "120"}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5 Serve" in done.stdout
    assert done.stdout.count("judged by") == 2, "two users were answered"
    assert (tmp_path / "demo" / "report.html").exists()


def test_it_is_no_part_of_this_checkout(prefix: Path, tmp_path: Path):
    where = "import hydra_ray, ray, faiss, psycopg; print(hydra_ray.__file__)"
    done = run([str(prefix / "bin" / "python"), "-c", where], env=bare_environment(tmp_path), cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(prefix), done.stderr
