"""The workflows, which no runner has run yet: their form, what they pin, and that what they call is there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from code_blocks import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yaml"))
PATHS = re.compile(r"(?<![\w/$.-])((?:\.ci|docker|k8s|docs|tests|hydra_ray)/[\w./-]*\w)")


def tool(name: str) -> str:
    """A program of the packages in requirements.lock."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, f"{name} is among the packages of requirements.lock: make install"
    return found


def jobs(path: Path) -> dict[str, dict]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def steps() -> Iterator[tuple[str, dict]]:
    """Every step, with the file and job that it is of."""
    for path in FILES:
        for name, job in jobs(path).items():
            yield from ((f"{path.name} {name}", step) for step in job.get("steps", []))


def test_what_is_there_is_what_a_release_wants():
    assert {path.stem for path in FILES} == {"test", "build", "kind", "release"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_says_that_it_was_not_run(path):
    assert path.read_text(encoding="utf-8").startswith("# Not yet run: ")


def test_the_schema_of_workflows_holds():
    check = [tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *map(str, FILES)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing_dangerous():
    command = [tool("zizmor"), "--offline", "--quiet", "--strict-collection", "--min-severity", "medium", str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actions_of_others_are_pinned_to_a_commit_and_say_of_which_release():
    used = [line for path in FILES for line in path.read_text().splitlines() if re.search(r"^\s*-? ?uses:", line)]
    others = [line for line in used if "uses: ./" not in line]
    assert others
    assert [line for line in others if not re.search(r"uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []
    for line in set(used) - set(others):
        assert (ROOT / line.split("uses: ")[1]).exists(), line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_job_is_bounded_and_has_the_rights_that_it_names(path):
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert tree["permissions"] == {}
    for name, job in jobs(path).items():
        assert "permissions" in job, name
        assert "timeout-minutes" in job or "uses" in job, name


@pytest.mark.parametrize(("where", "step"), [(where, step) for where, step in steps() if "run" in step])
def test_a_step_is_well_formed_and_names_files_that_are_there(where, step, tmp_path):
    script = tmp_path / "step.sh"
    # Expressions of the workflow are filled in before a shell sees them.
    script.write_text(re.sub(r"\$\{\{.*?\}\}", "value", step["run"]))
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{where}: {done.stderr}"
    assert [path for path in PATHS.findall(step["run"]) if not (ROOT / path).exists()] == [], where


def test_the_image_is_built_as_the_dockerfile_wants():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (build,) = (step["run"] for where, step in steps() if where == "build.yaml image" and step.get("name") == "Build")
    given = set(re.findall(r"--build-arg (\w+)=", build))
    assert given == set(re.findall(r"\bARG (\w+)=", text)) | set(re.findall(r" (\w+)=unknown", text))
    targets = jobs(FOLDER / "build.yaml")["image"]["strategy"]["matrix"]["target"]
    assert set(targets) <= set(re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE))
    # By digest, whatever the tag means tomorrow.
    assert re.search(r"PINNED=\$\{BASE\}@\$\{digest\}", (FOLDER / "build.yaml").read_text())
    assert set(re.findall(r"(\w+_BASE)=", build)) == {"CPU_BASE", "GPU_BASE"}


def test_a_release_waits_for_all_that_tests_it():
    release = jobs(FOLDER / "release.yaml")
    assert set(release["build"]["needs"]) == {"test", "kind"}
    assert release["publish"]["needs"] == "build"
    assert "id-token" in release["publish"]["permissions"]
    assert not any("id-token" in job["permissions"] for name, job in release.items() if name != "publish")
