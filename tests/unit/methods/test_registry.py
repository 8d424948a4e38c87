"""The methods by name, those of one's own among them."""

import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports, needs_base
from hydra_ray.records import Ranked

DOCS = Path(__file__).parents[3] / "docs"


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


async def test_the_method_that_the_docs_show_answers(monkeypatch, tag_task, query, item, scripted):
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(from .*?)```", page, re.DOTALL)
    # As the file that the docs have it written to.
    module = ModuleType("newest")
    monkeypatch.setitem(sys.modules, "newest", module)
    exec(shown, module.__dict__)

    async def retrieve(query, k, by):
        assert (k, by) == (3, "recent")
        return [Ranked(item("A king weeps.", "drama"), 1.0)]

    async def never(*_):
        raise AssertionError("no such step in this method")

    llm = scripted(lambda _: ["Drama."])
    method = module.Newest(Ports(retrieve, never, llm, never), prompter(tag_task), recipe())
    answer = await method(query("A dog barks."), None)
    assert (answer.text, len(answer.history), len(answer.prompt)) == ("drama", 1, len(llm.requests[0].messages))
