"""What commands hand on beyond the settings that they are given."""

import pytest
import yaml
from typer.testing import CliRunner

import hydra_ray.evaluate.run
from hydra_ray.cli import app
from hydra_ray.evaluate.outcome import Outcome


@pytest.fixture
def evaluated(monkeypatch):
    """Settings that evaluations were asked for."""
    found = []
    monkeypatch.setattr(
        hydra_ray.evaluate.run, "evaluate", lambda settings, console: found.append(settings) or Outcome((), None)
    )
    return found


@pytest.mark.parametrize(
    ("told", "seeds", "tasks"),
    [
        ({}, (5,), ()),
        ({"seeds": [1, 2]}, (1, 2), ()),
        ({"tasks": ["LaMP_4"]}, (), ("LaMP_4",)),
    ],
)
def test_a_papers_comparison_trains_by_its_own_recipe(evaluated, tmp_path, told, seeds, tasks):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"seed": 5, "base": {"epochs": 7}, "evaluate": told}))
    done = CliRunner().invoke(app, ["reproduce", "hydra", str(path), "data.split=dev"])
    assert done.exit_code == 0, done.output
    (settings,) = evaluated
    assert (settings.evaluate.seeds, settings.evaluate.tasks) == (seeds, tasks), (
        "else a base that is there would answer"
    )
    assert (settings.preset, settings.base.loss, settings.data.split) == ("paper", "bce", "dev")
    assert settings.base.epochs == 7, "the user's own file goes over the recipe"
