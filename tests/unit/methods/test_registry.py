"""The methods by name, those of one's own among them."""

from functools import partial
from typing import ClassVar

import pytest
from code_blocks import as_module, code_blocks
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports, needs_base, needs_reranker
from hydra_ray.records import Ranked


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
    assert [name for name in METHODS if needs_base(name)] == [
        "hydra-reranker",
        "hydra-adapter",
        "hydra-ungated",
        "hydra",
    ]


def test_only_hydras_reranker_alone_is_nothing_without_one():
    assert [name for name in METHODS if needs_reranker(name)] == ["hydra-reranker"]


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
    file, line = code_blocks("docs/methods.md", "## A method of your own")
    module = as_module(monkeypatch, "hydra_ray.methods.newest", file)
    assert line.strip() == '"newest": Newest,'

    async def retrieve(query, k, by):
        assert (k, by) == (3, "recent")
        return [Ranked(item("A king weeps.", "drama"), 1.0)]

    async def never(*_):
        raise AssertionError("no such step in this method")

    llm = scripted(lambda _: ["Drama."])
    method = module.Newest(Ports(retrieve, never, llm, never), prompter(tag_task), recipe())
    answer = await method(query("A dog barks."), None)
    assert (answer.text, len(answer.history), len(answer.prompt)) == ("drama", 1, len(llm.requests[0].messages))
