"""The Serve application over HTTP, asked by the official client."""

import asyncio
from dataclasses import replace

import httpx
import openai
import pytest
from defaults import load_base, simulate
from ray import serve

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.demo import ask, find_contrast
from hydra_ray.evaluate.runner.local_steps import LocalSteps
from hydra_ray.methods import METHODS
from hydra_ray.records import Answer, Query, UserKey
from hydra_ray.runtime.factory import make_prompter, make_recipe
from hydra_ray.runtime.generators import make_generator
from hydra_ray.runtime.models import chosen_base
from hydra_ray.settings import Settings
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.store.backends import open_store


@pytest.fixture(scope="module")
def people(demo_settings: Settings):
    data = demo_settings.data
    return simulate(
        users=data.dev_users, history=data.history, queries=data.queries, seed=demo_settings.seed, split="dev"
    )


def local_answer(settings: Settings, user: User, text: str) -> Answer:
    """The same request answered in this process."""
    base = load_base(chosen_base(settings).folder)
    store = open_store(settings.store_target)
    steps = LocalSteps(Dataset((user,)), base, store, make_recipe(settings), settings.peers.similar_users)
    method = METHODS["hydra"](
        steps.ports(make_generator(settings)), make_prompter(settings, base.task), make_recipe(settings)
    )
    query = Query(f"{stable_seed(text):08x}", user.key, text)
    return asyncio.run(method(query, user.key))


def test_the_same_request_locally_and_served_has_the_same_candidates_and_scores(client, demo_settings, people):
    dataset, _ = people
    for user in dataset.users[:5]:
        text = user.queries[0].input
        here = local_answer(demo_settings, user, text)
        there = ask(client, "hydra", text, user.key.user)
        assert there["choices"][0]["message"]["content"] == here.text
        assert [item["id"] for item in there["hydra"]["history"]] == [ranked.item.id for ranked in here.history]
        assert [item["score"] for item in there["hydra"]["history"]] == pytest.approx(
            [ranked.score for ranked in here.history], abs=0.05
        )
        assert [(c["text"], c["votes"]) for c in there["hydra"]["candidates"]] == [
            (c.text, c.votes) for c in here.candidates
        ]
        assert [c["score"] for c in there["hydra"]["candidates"]] == pytest.approx(
            [c.score for c in here.candidates], abs=0.05
        )
        assert there["hydra"]["head"] == here.head == "user"
        assert there["hydra"]["degraded"] == []


def test_queries_of_several_requests_are_encoded_before_an_adapter_chooses(url, demo_settings, people):
    adapter = serve.get_deployment_handle("Adapter", "hydra")
    texts = [f"{user.queries[0].input} Once more." for user in people[0].users[:3]]
    asked = [adapter.encode.remote(text, None) for text in texts]
    encoder = load_base(chosen_base(demo_settings).folder).adapter.encoder
    expected = encoder.encodings(texts)
    for text, one in zip(texts, asked, strict=True):
        assert one.result(timeout_s=60).vector == pytest.approx(expected[text], abs=0.05)


def test_two_users_get_their_own_answers_to_the_same_request(client, people):
    dataset, preferences = people
    contrast = find_contrast(dataset, preferences)
    answers = [
        ask(client, "hydra", contrast.text, user.key.user)["choices"][0]["message"]["content"]
        for user in (contrast.first, contrast.second)
    ]
    assert answers[0] != answers[1]


def test_an_unknown_user_gets_the_shared_head_and_no_history(client, people):
    text = people[0].users[0].queries[0].input
    reply = ask(client, "hydra", text, "nobody has this name")
    assert reply["hydra"]["history"] == []
    assert reply["hydra"]["head"] == "shared"
    assert reply["hydra"]["degraded"] == []
    assert reply["choices"][0]["message"]["content"] in text_labels(text)


def test_without_a_user_the_answer_is_the_shared_one_too(client, people):
    text = people[0].users[0].queries[0].input
    reply = client.chat.completions.create(model="hydra", messages=[{"role": "user", "content": text}])
    assert reply.choices[0].message.content in text_labels(text)
    told = reply.model_extra["hydra"]
    assert (told["user"], told["history"], told["head"], told["degraded"]) == (None, [], "shared", [])


def test_n_returns_the_n_best_candidates(client, people):
    user = people[0].users[1]
    reply = client.chat.completions.create(
        model="hydra", messages=[{"role": "user", "content": user.queries[0].input}], user=user.key.user, n=2
    )
    best = [candidate["text"] for candidate in reply.model_extra["hydra"]["candidates"]]
    assert [choice.message.content for choice in reply.choices] == best[:2]
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


def test_streaming_gives_the_same_answer(client, people):
    user = people[0].users[2]
    message = [{"role": "user", "content": user.queries[0].input}]
    whole = client.chat.completions.create(model="hydra", messages=message, user=user.key.user)
    chunks = list(client.chat.completions.create(model="hydra", messages=message, user=user.key.user, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert all(chunk.choices for chunk in chunks)
    assert {chunk.id for chunk in chunks} != {whole.id}
    assert chunks[-1].model_extra["hydra"]["user"] == user.key.user
    assert chunks[-1].model_extra["hydra"]["candidates"] == whole.model_extra["hydra"]["candidates"]


def test_a_stream_ends_with_its_usage_when_asked_to(client, people):
    user = people[0].users[2]
    asked = {"messages": [{"role": "user", "content": user.queries[0].input}], "user": user.key.user}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = client.chat.completions.create(model="hydra", **asked, **options)
    whole = client.chat.completions.create(model="hydra", **asked)
    assert (last.choices, last.usage) == ([], whole.usage)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_the_instruction_may_be_sent_along(client, demo_settings, people):
    user = people[0].users[3]
    text = user.queries[0].input
    task = load_base(chosen_base(demo_settings).folder).task
    with_instruction = ask(client, "hydra", task.question(text), user.key.user)
    assert with_instruction["hydra"]["candidates"] == ask(client, "hydra", text, user.key.user)["hydra"]["candidates"]


def test_history_written_while_it_serves_counts_at_once(client, demo_settings, people):
    known = people[0].users[0]
    newcomer = UserKey(demo_settings.tenant, "arrived a moment ago")
    store = open_store(demo_settings.store_target)
    store.put_histories({newcomer: [replace(item, id=f"new-{item.id}") for item in known.history]})
    reply = ask(client, "hydra", known.queries[0].input, newcomer.user)
    store.delete(newcomer)
    assert reply["hydra"]["head"] == "shared"
    assert len(reply["hydra"]["history"]) == demo_settings.method.shots
    assert all(item["id"].startswith("new-") for item in reply["hydra"]["history"])


def test_models_and_health(client, url, demo_settings):
    version = chosen_base(demo_settings).version
    assert [model.id for model in client.models.list()] == ["hydra", "hydra@production", f"hydra@{version}"]
    assert httpx.get(url.replace("/v1", "/healthz")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"model": "gpt", "messages": [{"role": "user", "content": "x"}]}, 404, "there is no model 'gpt'"),
        ({"model": "hydra", "messages": []}, 400, "messages"),
        ({"model": "hydra", "messages": [{"role": "system", "content": "x"}]}, 400, "what a user asks"),
        ({"model": "hydra", "messages": [{"role": "user", "content": "x"}], "n": 0}, 400, "n: "),
        ({"messages": [{"role": "user", "content": "x"}]}, 400, "model"),
    ],
)
def test_bad_requests_say_what_is_wrong(url, body, status, told):
    reply = httpx.post(f"{url}/chat/completions", json=body)
    assert reply.status_code == status
    assert told in reply.json()["error"]["message"]


def test_the_client_raises_its_own_errors(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "x"}])
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="hydra", messages=[{"role": "user", "content": "x"}], logprobs=True)
    assert (refused.value.param, refused.value.code) == ("logprobs", "unsupported_parameter")


@pytest.mark.parametrize(
    ("verb", "path", "sent", "status"),
    [
        ("POST", "/completions", {"json": {}}, 404),
        ("GET", "/chat/completions", {}, 405),
        ("GET", "/models/gpt%2F5", {}, 404),
        ("GET", "/users/%FF/history", {}, 400),
        ("DELETE", "/users/%20", {}, 400),
        ("POST", "/chat/completions", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", "/users/ann/feedback", {"content": b"input=x"}, 400),
        ("POST", "/chat/completions", {"json": {"model": "x" * 9_000_000}}, 413),
    ],
)
def test_every_error_has_openais_form(url, verb, path, sent, status):
    reply = httpx.request(verb, f"{url}{path}", **sent, timeout=30)
    assert reply.status_code == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def text_labels(text: str) -> tuple[str, ...]:
    from hydra_ray.data.simulated import labels_in

    return labels_in(text)
