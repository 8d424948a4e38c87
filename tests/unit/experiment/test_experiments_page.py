"""docs/experiments.md: its Python runs, its settings are settings."""

import yaml
from code_blocks import ROOT, code_blocks

from hydra_ray.settings import parse_settings

PAGE = "docs/experiments.md"


def test_the_python_example_runs_and_finds_the_effect(capsys):
    (example,) = code_blocks(PAGE, "## How it is compared")
    scope: dict = {}
    exec(compile(example, PAGE, "exec"), scope)
    (found,) = scope["comparisons"]
    assert found.difference.low > 0
    assert found.p < 0.05
    assert str(found.p) in capsys.readouterr().out


def test_the_settings_are_settings():
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    tree = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    experiment = parse_settings(tree).serve.experiment
    assert [arm.head for arm in experiment.arms.values()] == ["own", "own", "shared", "off"]
