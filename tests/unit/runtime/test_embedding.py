"""The embedder's setting reaches what embeds, and marks tell encoders apart but not processors."""

import pickle
from dataclasses import replace

import pytest
from defaults import computing

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.evaluate.runner.answer import _fingerprint_of as answers_fingerprint
from hydra_ray.evaluate.runner.experiments import _fingerprint_of as base_fingerprint
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.setup import collection_settings, make_request_writer
from hydra_ray.learn.examples.training_data import load_training_data
from hydra_ray.models.precision import PRECISIONS
from hydra_ray.records import UserKey
from hydra_ray.runtime.embedding import make_embedder, ranked_by
from hydra_ray.runtime.factory import make_peers, make_profile_rules, make_profile_writer
from hydra_ray.runtime.generators import generator_identity
from hydra_ray.settings import parse_settings
from hydra_ray.steps.retrieval.embed import SharedEmbedder

SIMULATED = {"format": "simulated", "task": "demo", "train_users": 3, "dev_users": 3, "history": 4, "queries": 1}
ANOTHER = {"name": "some/multilingual-encoder", "max_tokens": 128}


def settings(**sections):
    return parse_settings({"data": SIMULATED, **sections})


@pytest.fixture
def people(item, query):
    """One user with a history and a query."""
    history = (item("a robot", "sci-fi"), item("two cats", "comedy"), item("a king", "drama"))
    key = UserKey("default", "ann")
    return Dataset((User(key, history, (query("robots"),)),), {"robots": "sci-fi"})


def test_the_setting_is_what_embeds():
    assert make_embedder(settings()) == SharedEmbedder("minilm", 256, computing())
    how = {"precision": "float32", "runtime": "torch"}
    own = make_embedder(settings(embedder={**ANOTHER, **how}))
    assert own == SharedEmbedder(*ANOTHER.values(), computing(**how))


@pytest.fixture
def embedded_by(monkeypatch, word_vectors):
    """Whose settings embedded something."""
    used = set()

    def embed(shared, texts):
        used.add(shared)
        return word_vectors(texts)

    monkeypatch.setattr(SharedEmbedder, "__call__", embed)
    return used


@pytest.mark.parametrize("retriever", ["dense", "hybrid"])
def test_what_is_asked_and_what_teaches_is_retrieved_by_it_in_any_process(
    embedded_by, people, tag_task, retriever, tmp_path
):
    own = settings(embedder=ANOTHER, method={"retriever": retriever}, out=str(tmp_path))
    (user,) = people.users
    # As Ray hands them on.
    questions = pickle.loads(pickle.dumps(make_request_writer(own, tag_task)))
    questions(Example(user.queries[0], "sci-fi", user.history, pseudo=False))
    assert embedded_by == {make_embedder(own)}
    embedded_by.clear()
    told = pickle.loads(pickle.dumps(load_training_data(own, tag_task, people, [])))
    told.groups("adapter", user)
    assert embedded_by == {make_embedder(own)}


async def test_peers_are_found_by_it(embedded_by, people, query, item, tag_task, scripted, tmp_path):
    own = settings(embedder=ANOTHER, peers={"tenants": ["default"]}, out=str(tmp_path))
    other = User(UserKey("default", "bob"), (item("a robot sings", "musical"),))
    pool = make_peers(own, (*people.users, other))
    assert pool.similar(people.users[0].key, people.users[0].history, 1) == [other.key]
    assert embedded_by == {make_embedder(own)}
    embedded_by.clear()
    comparable = pool.comparable
    writer = make_profile_writer(own, tag_task, scripted(lambda request: ["likes robots"]), comparable)
    await writer("dpl", people.users[0].key, people.users[0].history)
    assert embedded_by == {make_embedder(own)}


def _everything_kept(own, people, tag_task):
    """All that says whether something kept may be used again."""
    (user,) = people.users
    told = load_training_data(own, tag_task, people, [])
    return {
        "answers": generator_identity(own),
        "feedback": collection_settings(own, tag_task),
        "heads": [told.fingerprint(role, user) for role in ("reranker", "adapter")],
        "profiles": make_profile_rules(own, tag_task).others,
        "runs": answers_fingerprint(own, "hydra", people, None, None),
        "base": base_fingerprint(own),
    }


@pytest.mark.parametrize("retriever", ["bm25", "dense"])
@pytest.mark.parametrize(
    "how", [*({"precision": one} for one in (*PRECISIONS, "auto")), {"runtime": "onnx"}, {"runtime": "torch"}], ids=str
)
def test_on_another_processor_nothing_is_done_again(monkeypatch, people, tag_task, tmp_path, retriever, how):
    about = {"method": {"retriever": retriever}, "peers": {"tenants": ["default"]}, "out": str(tmp_path)}
    kept = _everything_kept(settings(**about), people, tag_task)
    for forced in PRECISIONS:
        monkeypatch.setenv("HYDRA_PRECISION", forced)
        said = {"embedder": how, "base": {"encoder": how}}
        assert _everything_kept(settings(**about, **said), people, tag_task) == kept


@pytest.mark.parametrize(
    ("retriever", "differs"),
    [("bm25", {"profiles", "runs"}), ("dense", {"feedback", "heads", "profiles", "runs", "base"})],
)
def test_another_encoder_is_told_apart_where_it_ranks(people, tag_task, tmp_path, retriever, differs):
    about = {"method": {"retriever": retriever}, "peers": {"tenants": ["default"]}, "out": str(tmp_path)}
    kept = _everything_kept(settings(**about), people, tag_task)
    other = _everything_kept(settings(**about, embedder=ANOTHER), people, tag_task)
    assert {name for name in kept if kept[name] != other[name]} == differs


def test_what_was_kept_before_there_was_a_setting_is_kept(tag_task):
    assert ranked_by(settings(method={"retriever": "dense"})) == "dense"
    own = settings(peers={"tenants": ["default"]})
    assert make_profile_rules(own, tag_task).others == "16|0.4"


@pytest.mark.parametrize(
    ("sections", "identity"),
    [
        ({}, "embedded|None|demo|float32"),
        ({"backend": "openai", "base_url": "https://llm/v1", "model": "m"}, "openai|https://llm/v1|m|float32"),
        ({"backend": "vllm", "model": "m"}, "vllm|None|m|auto"),
        ({"backend": "vllm", "model": "m", "vllm": {"dtype": "bfloat16"}}, "vllm|None|m|bfloat16"),
    ],
)
@pytest.mark.parametrize("forced", PRECISIONS)
def test_the_key_of_kept_answers_holds_the_settings_word_and_not_the_processors(
    monkeypatch, sections, identity, forced
):
    monkeypatch.setenv("HYDRA_PRECISION", forced)
    assert generator_identity(settings(generator=sections)) == identity


def test_a_users_mark_depends_on_the_encoder_only_where_it_ranks_for_them(people, tag_task, tmp_path):
    own = settings(method={"retriever": "dense"}, out=str(tmp_path))
    told = load_training_data(own, tag_task, people, [])
    other = replace(told, ranked_by="dense by another of 64 tokens")
    assert told.fingerprint("adapter", people.users[0]) != other.fingerprint("adapter", people.users[0])
