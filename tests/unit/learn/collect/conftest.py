import pytest

from hydra_ray.learn.collect import report as collect
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.steps.generate import failures


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(collect, "EXAMPLES_PER_PART", 2)
    monkeypatch.setattr(failures, "_MANY", 6)


@pytest.fixture
def store(tmp_path):
    return FeedbackStore(tmp_path / "feedback")


@pytest.fixture
def example(query, item):
    history = (item("a dog", "sci-fi"), item("a robot falls", "comedy"), item("a robot in love", "drama"))
    return Example(query("a robot falls in love"), "comedy", history, pseudo=True)


@pytest.fixture
def examples(query, item):
    """Five queries of three users, each with one item of history."""
    owners = ["ann", "bob", "ann", "carl", "bob"]
    return [
        Example(query(f"film {number}", user=owner), "comedy", (item("an old film", "drama"),), pseudo=False)
        for number, owner in enumerate(owners)
    ]
