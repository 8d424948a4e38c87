"""`hydra-ray k8s check` has nothing against what is checked in under `k8s/`, and says what it has against others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from good import objects
from typer.testing import CliRunner

from hydra_ray.cli import app

ROOT = Path(__file__).parents[4]
PROFILES = sorted(path.name for path in (ROOT / "k8s").iterdir())


def run(*arguments: str):
    return CliRunner().invoke(app, ["k8s", *arguments])


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_checked_in_has_no_problem(profile):
    done = run("check", str(ROOT / "k8s" / profile))
    assert done.exit_code == 0, done.output
    assert done.output.endswith("object(s), no problem.\n")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("workers.max_pods=3", "at their most, replicas find no place"),
        ("replicas.max=40", "at their most, replicas find no place"),
        ("head.memory=1Mi", ""),
    ],
)
def test_settings_that_do_not_fit_each_other_are_found(setting, said, tmp_path):
    assert run("render", "--profile", "cluster", "--set", setting, "--out", str(tmp_path)).exit_code == 0
    done = run("check", str(tmp_path))
    assert done.exit_code == (1 if said else 0), done.output
    assert said in done.output


def test_each_problem_is_a_line_with_file_object_and_path(tmp_path):
    given = objects()
    given["Service/hydra"]["spec"]["port"] = 1
    given["RayJob/learn"]["spec"]["backoffLimit"] = -1
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(given.values()))
    done = run("check", str(file))
    assert done.exit_code == 1
    assert f"{file}: RayJob/learn: spec.backoffLimit: -1 is below 0 (KubeRay: ValidateRayJobSpec)" in done.output
    assert f"{file}: Service/hydra: spec.port: there is no such field: ports is meant?" in done.output
    assert "2 problem(s) in 13 object(s)" in str(done.exception)


def test_another_version_of_kubernetes_can_be_asked(tmp_path):
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(objects().values()))
    assert run("check", str(file), "--kubernetes", "1.34").exit_code == 0
    done = run("check", str(file), "--kubernetes", "1.9")
    assert "there are no schemas of Kubernetes 1.9; there are 1.25, 1.26" in str(done.exception)
