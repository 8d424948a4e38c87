"""What docs/extending.md shows is added as the page says, and used as everything of its kind is used.

A test writes no file: it puts the page's code in modules of the names that the page gives them, and the page's line in
the registry.
"""

import json
import logging
from dataclasses import replace
from typing import get_args

import pytest
import torch
from code_blocks import ROOT, as_module, code_blocks
from made_up_users import make_model, with_taste
from openai_endpoint import serving

from hydra_ray.learn.heads.fitter import HeadFitter
from hydra_ray.learn.heads.tuned import FitChoice
from hydra_ray.learn.tune.prompting import PromptSearch
from hydra_ray.models.heads import HEAD_KINDS, Head
from hydra_ray.models.heads.descent import GradientFitted
from hydra_ray.records import ChatRequest, HydraError, Message, UserKey
from hydra_ray.runtime import generators
from hydra_ray.runtime.factory import make_recipe
from hydra_ray.runtime.generators import make_generator, open_cache
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import BaseHeadSettings, GeneratorSettings, HeadSettings, SettingsError, parse_settings
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.limits import BudgetSpentError
from hydra_ray.steps.retrieval.retrievers import RETRIEVERS, retriever
from hydra_ray.store.backends import BACKENDS, open_store
from hydra_ray.tasks import TASKS

PAGE = "docs/extending.md"
ANN = UserKey("acme", "ann")


@pytest.fixture
def shown(monkeypatch):
    """Makes a module of a section's file, and evaluates the line that goes into the registry in it."""

    def make(heading, name):
        file, *_, line = code_blocks(PAGE, heading)
        assert f"`{name.replace('.', '/')}.py`" in (ROOT / PAGE).read_text(encoding="utf-8")
        module = as_module(monkeypatch, name, file)
        return module, line

    return make


def entry(line, names):
    """The name and the value of a registry's line."""
    ((name, value),) = eval(f"{{{line}}}", names).items()
    return name, value


def test_a_head_kind_is_fitted_stored_and_read(shown, monkeypatch, store):
    module, line = shown("## A kind of head", "hydra_ray.models.heads.linear")
    (kind,) = eval(f"({line})", vars(module))
    monkeypatch.setitem(HEAD_KINDS, kind.name, kind)
    # Its name in settings is the one line that a test cannot add.
    fit = parse_settings({"fit": {"steps": 80, "lr": 0.02}}).fit
    fit = fit.model_copy(update={"head": HeadSettings.model_construct(kind="linear", rank=1)})

    model, taste = make_model(), torch.randn(12, generator=torch.Generator().manual_seed(5))
    known, asked = with_taste(taste, seed=1, groups=60), with_taste(taste, seed=2, groups=60)
    (fitted,) = HeadFitter(model, lambda _: FitChoice(fit), "listwise")([(ANN, known)])
    assert (fitted.head.kind, set(fitted.head.tensors)) == ("linear", {"out"})

    store.put_heads("v1", "adapter", {ANN: fitted.head})
    head = store.head(ANN, "v1", "adapter")
    assert torch.equal(Head.from_bytes(head.to_bytes()).tensors["out"], fitted.head.tensors["out"])
    right = asked.scores.view(60, 4).argmax(dim=1)

    def share(own):
        return (model.logits(asked.z, [own] * 240).view(60, 4).argmax(dim=1) == right).float().mean()

    assert share(head) > share(None) + 0.2


def test_a_fresh_head_of_the_kind_that_is_shown_changes_nothing(shown):
    module, _ = shown("## A kind of head", "hydra_ray.models.heads.linear")
    kind = module.Linear()
    z = torch.randn(3, 4, 12)
    assert torch.equal(kind.delta(kind.fresh(3, 12, 1), torch.arange(3), z, None), torch.zeros(3, 4))


def test_a_retriever_is_accepted_and_ranks(shown, monkeypatch, query, item):
    module, line = shown("## A retriever", "hydra_ray.steps.retrieval.jaccard")
    name, function = entry(line, vars(module))
    with pytest.raises(SettingsError, match="there is no retriever 'jaccard'; there are bm25, dense"):
        parse_settings({"method": {"retriever": name}})
    monkeypatch.setitem(RETRIEVERS, name, function)
    settings = parse_settings({"method": {"retriever": name}})
    assert make_recipe(settings).retriever == name
    assert PromptSearch(retrievers=(name,)).retrievers == (name,)

    history = [item("red robot"), item("old king"), item("the red robot army"), item("blue robot")]
    found = retriever(name, None, settings.method.stemmer)(query("red robot"), history, 3)
    assert [(ranked.item.id, ranked.fill) for ranked in found] == [
        ("red robot", False),
        ("the red robot army", False),
        ("blue robot", False),
    ]
    assert retriever(name, None, None)(query("red robot"), [], 3) == []
    (best,) = retriever(name, None, "english")(query("robots"), history, 1)
    assert (best.score, best.fill) == (0.5, False), "method.stemmer reaches it"


def test_a_task_is_read_from_records_parses_and_scores(shown, monkeypatch, tmp_path):
    module, line = shown("## A task", "hydra_ray.tasks.emotion")
    (task,) = eval(f"({line})", vars(module))
    path = tmp_path / "records.jsonl"
    records = [
        {"user_id": "u1", "input": f"text {day}", "output": output, "ts": f"2026-03-0{day}"}
        for day, output in enumerate(["joy", "fear", "anger", "joy", "fear"], 1)
    ]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    settings = parse_settings({"data": {"format": "records", "path": str(path), "task": task.name, "dev_share": 0.001}})
    with pytest.raises(HydraError, match="there is no task 'emotion'"):
        load_data(settings)
    monkeypatch.setitem(TASKS, task.name, task)
    read, data = load_data(settings)
    assert read == task
    (user,) = data.users
    assert len(user.history) + len(user.queries) == 5
    assert read.question("I won!") == "In one word, which emotion is in this message? message: I won!"
    assert read.parse(" Joy.") == "joy"
    assert read.parse("hunger") is None
    assert (read.score("Anger", "anger"), read.score("joy", "anger")) == (1.0, 0.0)


def test_a_store_backend_opens_by_its_url_keeps_and_tells(shown, monkeypatch, tmp_path, item, caplog):
    module, line = shown("## A store backend", "hydra_ray.store.audited")
    name, backend = entry(line, vars(module))
    monkeypatch.setitem(BACKENDS, name, backend)
    settings = parse_settings({"store": {"url": f"{name}+sqlite:///{tmp_path / 'users.db'}"}}).anchored()
    store = open_store(settings.store_target)
    store.put_histories({ANN: [item("a robot", "sci-fi")]})
    # Another process opens it anew.
    again = open_store(settings.store_target)
    assert again.history(ANN) == (item("a robot", "sci-fi"),)
    with caplog.at_level(logging.WARNING, logger="hydra_ray"):
        store.delete(ANN)
    assert again.history(ANN) == ()
    assert [record.getMessage() for record in caplog.records] == ["deleted user ann of tenant acme"]
    store.close()
    again.close()


@pytest.fixture
def plain(shown, monkeypatch, tmp_path):
    """Makes generators of backend plain that ask a local server."""
    file, function, line = code_blocks(PAGE, "## An LLM endpoint")
    module = as_module(monkeypatch, "hydra_ray.steps.generate.plain", file)
    names = {**vars(generators), "PlainGenerator": module.PlainGenerator, "HydraError": HydraError}
    exec(compile(function, PAGE, "exec", dont_inherit=True), names)
    name, make = entry(line, names)
    monkeypatch.setitem(generators.BACKENDS, name, make)
    monkeypatch.setenv("LLM_KEY", "k-123")

    def settings(url, **more):
        tree = parse_settings({"out": str(tmp_path), "generator": {"base_url": url, "api_key_env": "LLM_KEY", **more}})
        # Its name in settings is the one line that a test cannot add.
        return tree.model_copy(update={"generator": tree.generator.model_copy(update={"backend": name})})

    return settings


REQUEST = ChatRequest((Message("user", "Hi?"),), n=2, temperature=0.7, seed=4)


async def test_an_endpoint_of_another_protocol_answers_with_key_cache_and_budget(plain):
    with serving() as server:
        server.replies = [{"texts": ["yes", "no"]}]
        settings = plain(server.url, limits={"calls": 1})
        generator = make_generator(settings, open_cache(settings))
        answer = await generator(REQUEST)
        assert (answer.texts, answer.usage.calls) == (("yes", "no"), 1)
        assert server.asked[0] == {"prompt": "Hi?", "n": 2, "temperature": 0.7, "max_tokens": 64, "seed": 4}
        assert server.headers[0]["authorization"] == "Bearer k-123"
        assert (await generator(REQUEST)).texts == ("yes", "no")
        assert len(server.asked) == 1, "the cache answers what was asked before"
        with pytest.raises(BudgetSpentError):
            await generator(replace(REQUEST, seed=5))
        await generator.close()


@pytest.mark.parametrize(
    ("reply", "kind", "transient"),
    [
        ((401, {}), "key", False),
        ((503, {}), "busy", True),
        ((500, {}), "server", False),
        ((200, "no JSON"), "malformed", True),
        ((200, {"text": "x"}), "malformed", True),
    ],
)
async def test_what_an_endpoint_of_another_protocol_refuses_has_a_kind(plain, reply, kind, transient):
    with serving() as server:
        server.replies = [reply]
        generator = make_generator(plain(server.url))
        with pytest.raises(GenerateError) as failed:
            await generator(REQUEST)
        assert (failed.value.kind, failed.value.transient) == (kind, transient)
        assert "k-123" not in str(failed.value)
        await generator.close()


async def test_an_endpoint_that_is_not_there_is_a_connection(plain):
    with serving() as server:
        url = server.url
    generator = make_generator(plain(url))
    with pytest.raises(GenerateError) as failed:
        await generator(REQUEST)
    assert (failed.value.kind, failed.value.transient) == ("connection", True)
    await generator.close()


def test_an_endpoint_without_a_url_is_refused_before_anything_is_asked(plain):
    with pytest.raises(HydraError, match=r"generator\.base_url"):
        make_generator(plain(None))


@pytest.mark.parametrize(
    ("setting", "field", "registry"),
    [
        (HeadSettings, "kind", HEAD_KINDS),
        (BaseHeadSettings, "kind", [name for name, kind in HEAD_KINDS.items() if isinstance(kind, GradientFitted)]),
        (GeneratorSettings, "backend", generators.BACKENDS),
    ],
)
def test_names_that_settings_list_are_those_of_the_registry(setting, field, registry):
    assert set(get_args(setting.model_fields[field].annotation)) == set(registry)
