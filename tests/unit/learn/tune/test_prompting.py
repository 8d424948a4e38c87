import asyncio
from dataclasses import replace

import pytest
import yaml
from rich.console import Console

from hydra_ray.learn.collect.plan import pseudo_example
from hydra_ray.learn.tune import prompting as ask_search
from hydra_ray.learn.tune.prompting import prompt_table, search_prompts
from hydra_ray.progress import SILENT
from hydra_ray.settings import SettingsError, parse_settings
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.failures import Failure, FailureLog, UnfinishedError
from hydra_ray.steps.retrieval.retrievers import RETRIEVERS


@pytest.fixture
def settings(tmp_path):
    data = {"format": "simulated", "task": "demo", "dev_users": 4, "history": 12}
    return parse_settings({"out": str(tmp_path), "users": "dev", "data": data})


@pytest.fixture
def search(tmp_path):
    def write(**values):
        path = tmp_path / "asked.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


@pytest.fixture
def llm(scripted, monkeypatch):
    """Answers well as often as it is shown two examples, and badly else."""

    class Closing(scripted):
        async def close(self):
            self.closed = True

    llm = Closing(lambda request: ["violent" if request.messages[0].content.count("\n") % 2 else "none"])
    monkeypatch.setattr(ask_search, "make_generator", lambda settings, cache: llm)
    return llm


def test_the_worse_half_is_given_up_round_by_round_within_the_calls(settings, search, llm, monkeypatch):
    asked = []

    async def scores(way, examples, generator, settings, task, log):
        asked.append((way.retriever, way.shots, [example.query.id for example in examples]))
        return [way.shots / 10 + (way.retriever == "recent") / 100] * len(examples)

    monkeypatch.setattr(ask_search, "_scores", scores)
    path = search(calls=60, shots=[0, 1, 2], retrievers=["bm25", "recent"])
    ways = search_prompts(settings, path, SILENT)
    assert [(way.retriever, way.shots) for way in ways][:2] == [("recent", 2), ("bm25", 2)]
    assert len(ways) == 5, "without shots retrievers do not differ"
    assert ways[0].out_at is None
    assert [way.out_at for way in ways[1:]] == [3, 2, 1, 1]
    assert sum(len(ids) for _, _, ids in asked) <= 60
    first_round = [ids for _, _, ids in asked[:5]]
    assert first_round[1:] == first_round[:-1], "all are asked the same"
    assert not set(first_round[0]) & set(asked[5][2]), "and something new in the next round"
    table = Console(record=True, width=120)
    table.print(prompt_table(ways))
    assert "round 3" in table.export_text()


def test_each_way_shows_its_own_number_of_items_from_before_the_query(settings, search, llm):
    search_prompts(settings, search(calls=8, shots=[0, 3], retrievers=["recent"]), SILENT)
    assert llm.closed
    turns = {len(request.messages) for request in llm.requests}
    lengths = {sum(len(message.content) for message in request.messages) for request in llm.requests}
    assert len(turns) > 1 or len(lengths) > 1
    assert len(llm.requests) <= 8
    assert {request.n for request in llm.requests} == {1}
    assert {request.temperature for request in llm.requests} == {0.0}


def test_a_search_that_cannot_be_made_names_what_is_wrong(settings, search):
    with pytest.raises(SettingsError, match="retrievers"):
        search_prompts(settings, search(retrievers=["magic"]), SILENT)
    with pytest.raises(SettingsError, match="calls"):
        search_prompts(settings, search(calls=0), SILENT)


def test_people_who_share_an_item_are_each_shown_their_own_history(settings, search, llm, monkeypatch):
    task, dataset = ask_search.chosen_users(settings)
    one, other = dataset.users[:2]
    # The same newest item in both histories, as of a paper that two people wrote.
    shared = replace(other, history=(*other.history[:-1], one.history[-1]))
    examples = [pseudo_example(user, len(user.history) - 1) for user in (one, shared)]
    assert examples[0].query.id == examples[1].query.id
    shown = {}
    retrieve = RETRIEVERS["recent"]

    def watched(query, history, k):
        shown[query.user] = history
        return retrieve(query, history, k)

    monkeypatch.setitem(RETRIEVERS, "recent", watched)
    asyncio.run(
        ask_search._scores(ask_search.PromptVariant(2, "recent"), examples, llm, settings, task, FailureLog(0.5))
    )
    assert shown == {example.query.user: example.history for example in examples}


def failing(scripted, monkeypatch, fail):
    class Closing(scripted):
        async def close(self):
            """Nothing to close."""

    llm = Closing(fail)
    monkeypatch.setattr(ask_search, "make_generator", lambda settings, cache: llm)
    return llm


def test_a_dead_endpoint_ranks_nothing(settings, search, scripted, monkeypatch):
    def die(request):
        raise GenerateError("HTTP 503", "server")

    llm = failing(scripted, monkeypatch, die)
    with pytest.raises(UnfinishedError, match=r"answered none of the first 32 requests, the last with: HTTP 503"):
        search_prompts(settings, search(calls=400), SILENT)
    assert len(llm.requests) < 128 + 32


def test_one_request_that_fails_for_now_leaves_the_search_unfinished(settings, search, scripted, monkeypatch):
    def fail(request):
        if len(llm.requests) == 3:
            raise GenerateError("HTTP 503", "server")
        return ["none"]

    llm = failing(scripted, monkeypatch, fail)
    with pytest.raises(UnfinishedError, match=r"1 requests were not answered: 1 server \(HTTP 503\)"):
        search_prompts(settings, search(calls=40), SILENT)


def test_refusals_score_nothing_and_are_counted_apart(settings, search, scripted, monkeypatch):
    def refuse_shots(request):
        if len(request.messages) > 3:
            raise GenerateError("HTTP 400: [too] long", "refused")
        return ["none"]

    failing(scripted, monkeypatch, refuse_shots)
    path = search(calls=24, shots=[1, 4], retrievers=["recent"])
    ways = search_prompts(settings, path, SILENT)
    four = next(way for way in ways if way.shots == 4)
    # Who has no history is shown none, and is answered.
    refused = four.unanswered.total()
    assert 0 < refused <= len(four.scores)
    assert four.unanswered.keys() == {Failure("refused", "HTTP 400: [too] long")}
    console = Console(record=True, width=160)
    console.print(prompt_table(ways))
    told = console.export_text()
    assert f"{refused} refused" in told
    assert "[too] long" in told
