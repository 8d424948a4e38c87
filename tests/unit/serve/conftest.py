"""An app for tests of what is served."""

import pytest
from streaming_endpoint import streaming

from hydra_ray.settings import parse_settings
from hydra_ray.tasks import CHAT_TASK, TEXT_TASK


@pytest.fixture(scope="session")
def bases(scorer, tmp_path_factory):
    """Folders of models by task."""
    from hydra_ray.models.base import Base

    made = {task.name: tmp_path_factory.mktemp("model") for task in (TEXT_TASK, CHAT_TASK)}
    for task in (TEXT_TASK, CHAT_TASK):
        Base("v1", task, scorer(seed=1), scorer(seed=2)).save(made[task.name] / "base")
    return made


@pytest.fixture(scope="session")
def served(bases):
    """Makes apps from settings of `serve`, and of other sections."""
    from made_app import Served

    def make(task=TEXT_TASK, authenticate=None, limiter=None, more=None, **serve):
        places = {"out": str(bases[task.name]), "model": {"dir": str(bases[task.name])}}
        tree = {**places, "tenant": "acme", "serve": serve, **(more or {})}
        settings = parse_settings({**tree, "model": {**places["model"], **tree.get("model", {})}})
        return Served(settings, authenticate, limiter)

    return make


@pytest.fixture
def stream():
    """An LLM's endpoint that says what it is let say."""
    with streaming() as server:
        yield server
