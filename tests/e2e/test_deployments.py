"""The Serve config files say what they should."""

from pathlib import Path

import yaml
from ray.serve.schema import ServeDeploySchema

from hydra_ray.demo import demo_settings
from hydra_ray.settings import parse_settings

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"


def test_the_local_file_serves_what_the_demo_trains():
    config = ServeDeploySchema.model_validate(yaml.safe_load((DEPLOYMENTS / "local.yaml").read_text()))
    (application,) = config.applications
    assert application.import_path == "hydra_ray.serve.app:build"
    assert parse_settings(application.args) == demo_settings(Path("runs/demo"))
