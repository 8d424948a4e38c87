"""The methods by name, those of one's own among them."""

from functools import partial
from typing import ClassVar

import pytest

from hydra_ray.methods import METHODS, needs_base


class Judged:
    """Somebody's own method, which reranks."""

    needs_base: ClassVar[bool] = True

    def __init__(self, ports, prompter, recipe, often=False):
        """Takes what the registry gives."""


class Newest:
    """Somebody's own method, which only prompts."""

    def __init__(self, ports, prompter, recipe):
        """Takes what the registry gives."""


def test_of_the_papers_methods_only_hydra_and_its_parts_judge_by_a_base():
    assert [name for name in METHODS if needs_base(name)] == ["hydra-reranker", "hydra-adapter", "hydra"]


@pytest.mark.parametrize(
    ("name", "made", "judges"),
    [
        ("mine", Judged, True),
        ("mine-often", partial(Judged, often=True), True),
        ("newest", Newest, False),
        ("hydra-like", Newest, False),
    ],
)
def test_what_judges_by_a_base_says_so_whatever_its_name(monkeypatch, name, made, judges):
    monkeypatch.setitem(METHODS, name, made)
    assert needs_base(name) is judges


def test_what_is_no_method_judges_by_nothing():
    assert not needs_base("shared-head")
