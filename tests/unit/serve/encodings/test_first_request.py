"""A user's first request to replicas that have just started: what was fitted, or told before, is not encoded again."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
import torch
from defaults import computing
from patience import until

from hydra_ray.learn.heads import job, pipeline
from hydra_ray.learn.heads.item_encodings import encode_texts
from hydra_ray.learn.heads.job import fit_users
from hydra_ray.learn.heads.pipeline import Encoding
from hydra_ray.models.base import ADAPTER
from hydra_ray.models.encodings import stored_vector, text_digest
from hydra_ray.progress import SILENT
from hydra_ray.records import Candidate, HistoryItem, Query, Ranked, UserKey
from hydra_ray.serve.encodings import of_replica
from hydra_ray.serve.feedback.refitter import make_refits
from hydra_ray.settings import parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.tasks import TEXT_TASK

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
HISTORY = [HistoryItem(f"item-{day}", f"What about subject {day}?", f"My answer is {day}.") for day in range(8)]


@pytest.fixture
def make(bases, tmp_path):
    """Makes settings of users in a store of the test's own, on a base whose encoder both roles share."""

    def settings(**serve):
        fit = {"mode": "zero-call", "min_groups": 1, "steps": 1, "refit_items": 3, "users_per_shard": 1}
        places = {"out": str(tmp_path), "model": {"dir": str(bases[TEXT_TASK.name])}, "tenant": "acme"}
        places |= {"method": {"rerank": True}}
        more = {"data": {"format": "store"}, "users": "dev", "fit": fit, "serve": {"encoding_cache_mb": 1, **serve}}
        return parse_settings({**places, **more, "base": {"encoder": {"precision": "float32"}}})

    return settings


@pytest.fixture
def store(make):
    store = open_store(make().store_target)
    # A second one, from whose answers the first one's are told.
    others = [HistoryItem(one.id, one.input, f"Quite another answer, {one.id}") for one in HISTORY]
    store.put_histories({ANN: HISTORY, BOB: others})
    yield store
    store.close()


@pytest.fixture
def replicas(make):
    """Makes a reranker and an adapter that have just started."""
    from hydra_ray.serve.adapter import Adapter
    from hydra_ray.serve.reranker import Reranker

    made = []

    def start():
        pair = Reranker.func_or_class(make()), Adapter.func_or_class(make())
        made.extend(pair)
        return pair

    yield start
    for one in made:
        one._encodings.close()
        one._versions.close()


@pytest.fixture
def fit_here(monkeypatch):
    """Has all stages of a fit run in this process."""

    def run(shards, stages):
        made = [stage.stage(*stage.arguments) for stage in stages]
        for place in range(len(shards.sizes)):
            batch = {"place": [place]}
            for stage in made:
                batch = stage(batch)
            yield {name: values[0] for name, values in batch.items()}

    told = SimpleNamespace(encoded=SimpleNamespace(remote=lambda *_: None))
    ray = SimpleNamespace(get=lambda one: one, put=lambda one: one, cluster_resources=dict)

    def encoding(settings, base, features):
        registry = settings.registry_url, settings.registry_cache
        return Encoding(base, registry, features, computing(precision="float32"), 1, told)

    monkeypatch.setattr(job, "cluster", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(job, "watch", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(job, "encoding", encoding)
    monkeypatch.setattr(pipeline, "ray", ray)
    for cores in ("cores_of_a_node", "cores_of_all_nodes"):
        monkeypatch.setattr(pipeline, cores, lambda: 2)
    monkeypatch.setattr(pipeline, "on_this_node", dict)
    monkeypatch.setattr(pipeline, "_run", run)
    monkeypatch.setattr(pipeline, "rows", lambda dataset: dataset)


@pytest.fixture
def ask(rows):
    """Has replicas answer ann, and tells how many texts the backbone read for it, in each of them."""

    def asked(replicas, text="A new question?", new=("It depends.", "Never.")):
        reranker, adapter = replicas
        rows.clear()
        query, ranked = Query(text, ANN, text), tuple(Ranked(item, 1.0) for item in HISTORY)
        (reply,) = reranker._rerank(reranker._versions.get("v1"), [(query, ranked, ANN)])
        found = [sum(rows)]
        answers = tuple(one.item.output for one in reply.items)
        call = query, tuple(Candidate(said, 1, 0) for said in new), answers, reply.encoding, ANN
        (choice,) = adapter._adapt(adapter._versions.get("v1"), [call])
        assert len(choice.candidates) == len(new)
        return [*found, sum(rows) - found[0]]

    return asked


def test_after_a_fit_a_first_request_encodes_its_query_and_what_the_llm_newly_said(
    store, make, fit_here, replicas, ask
):
    report = fit_users(make(), SILENT)
    assert report.heads[ADAPTER] == 2
    assert ask(replicas()) == [1, 2]


def test_without_a_fit_it_encodes_all_that_is_retrieved_and_the_next_replicas_nothing_of_it(store, replicas, ask):
    first = replicas()
    assert ask(first) == [len(HISTORY) + 1, len(HISTORY) + 2]
    for one in first:
        one._encodings.items.flush()
    assert ask(replicas(), "Another question?", ("Perhaps.",)) == [1, 1]


def test_a_fit_keeps_no_encodings_where_settings_say_no(store, make, fit_here):
    fit_users(make(store_encodings=False), SILENT)
    assert store.records.counts(ANN)["item_encodings"] == 0


def test_a_second_fit_encodes_items_only_that_are_new(store, make, fit_here, monkeypatch):
    made = []

    def noted(encoder, texts, kept):
        made.append(encode_texts(encoder, texts, kept))
        return made[-1]

    monkeypatch.setattr(pipeline, "encode_texts", noted)
    fit_users(make(), SILENT)
    assert [len(one) for one in made] == [len(HISTORY)] * 4
    made.clear()
    store.append_history(ANN, HistoryItem("later", "And later?", "Later."))
    assert fit_users(make(), SILENT).heads[ADAPTER] == 1
    assert [[one.item.id for one in encoded] for encoded in made] == [["later"], ["later"]]


def test_a_refit_leaves_encodings_to_replicas(store, make):
    # It would hold up all other heads for as long as it takes, and shares its cores with requests.
    failed = []
    refits = make_refits(make(), failed.append)
    refits.note(ANN)
    assert refits.round() == [ANN]
    assert failed == []
    assert store.records.counts(ANN)["item_encodings"] == 0


def test_encodings_of_a_fit_are_those_of_a_replica(store, make, fit_here, replicas):
    fit_users(make(), SILENT)
    fitted = {row["text"]: row["vector"] for row in store.records.rows(ANN)["item_encodings"]}
    first = replicas()
    encoder = first[0]._versions.get("v1").scorer.encoder
    texts = [text for one in HISTORY for text in (f"{one.output}: {one.input}", one.output)]
    for text, vector in encoder.encodings(texts).items():
        kept = stored_vector(fitted[text_digest(encoder.fingerprint, text)], encoder.encoding_width)
        torch.testing.assert_close(torch.from_numpy(kept.copy()), torch.from_numpy(vector), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("call", "arguments"), [("learn", (ANN, None, (), 0)), ("forget", (ANN, "item-1"))])
def test_nothing_is_encoded_ahead_while_an_adapter_learns_or_forgets(store, replicas, rows, call, arguments):
    _, adapter = replicas()
    rows.clear()
    ahead, meanwhile = adapter._encodings._ahead, []

    def works(*_):
        ahead.note(ANN, HISTORY)
        meanwhile.append((ahead.settle(0.5), list(rows)))

    setattr(adapter._versions.get("v1").learner, call, works)
    asyncio.run(getattr(adapter, call)(*arguments))
    assert meanwhile == [(False, [])]
    assert ahead.settle(60)
    assert sum(rows) == len(HISTORY)


def test_of_who_was_imported_both_roles_encode_what_they_read(store, replicas, monkeypatch):
    monkeypatch.setattr(of_replica, "LOOK_EVERY_S", 0.01)
    replicas()

    def encoded(user):
        return store.records.counts(user)["item_encodings"] >= 2 * len(HISTORY)

    until(lambda: encoded(ANN) and encoded(BOB), "encodings of both roles")
