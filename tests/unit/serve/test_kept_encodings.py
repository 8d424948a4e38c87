"""Replicas keep encodings: what was encoded for one request, or for another version, is not encoded again."""

import numpy as np
import pytest

from hydra_ray.models.encodings import Encoding
from hydra_ray.records import Candidate, Query, Ranked, UserKey
from hydra_ray.serve.reranker import Reranked
from hydra_ray.settings import parse_settings
from hydra_ray.store.types import StoreError
from hydra_ray.store.user_rows.encodings import EncodingStore
from hydra_ray.tasks import TEXT_TASK

ANN = UserKey("acme", "ann")


@pytest.fixture
def replica(bases, tmp_path):
    """Makes a replica of reranker or adapter in this process, with room for so many MiB of encodings."""
    from hydra_ray.serve.adapter import Adapter
    from hydra_ray.serve.reranker import Reranker

    made = []

    def make(role, mb, **serve):
        tree = {"out": str(tmp_path), "tenant": "acme", "model": {"dir": str(bases[TEXT_TASK.name])}}
        settings = parse_settings({**tree, "serve": {"encoding_cache_mb": mb, **serve}})
        made.append({"reranker": Reranker, "adapter": Adapter}[role].func_or_class(settings))
        return made[-1]

    yield make
    for one in made:
        one._versions.close()


def order(reranker, item, *queries):
    ranked = tuple(Ranked(item(text, f"answer {text}"), 1.0) for text in ("one", "two", "three"))
    held = reranker._versions.get("v1")
    return [reranker._rerank(held, [(Query(text, ANN, text), ranked, ANN)])[0] for text in queries]


def choose(adapter, *queries, encoding=None):
    candidates = tuple(Candidate(text, votes, 0) for text, votes in (("yes", 3), ("no", 2), ("maybe", 1)))
    held = adapter._versions.get("v1")
    asks = [(Query(text, ANN, text), candidates, ("yes", "never"), encoding, ANN) for text in queries]
    return [adapter._adapt(held, [ask])[0] for ask in asks]


def test_a_reranker_reads_a_users_items_once_and_orders_as_without(replica, rows, item):
    plain, keeping = replica("reranker", 0), replica("reranker", 1)
    expected = order(plain, item, "first", "second")
    rows.clear()
    found = order(keeping, item, "first", "second")
    assert sum(rows) == 3 + 1 + 1
    for one, other in zip(found, expected, strict=True):
        assert [ranked.item for ranked in one.items] == [ranked.item for ranked in other.items]
        assert [ranked.score for ranked in one.items] == pytest.approx(
            [ranked.score for ranked in other.items], abs=1e-5
        )


def test_another_replica_does_not_encode_what_one_has_encoded(replica, rows, item):
    one = replica("reranker", 1)
    one._store.put_histories({ANN: [item(text, f"answer {text}") for text in ("one", "two", "three")]})
    expected = order(one, item, "first")
    one._items.flush()
    other, counted = replica("reranker", 1), []
    other._items._noted = lambda *numbers: counted.append(numbers)
    rows.clear()
    found = order(other, item, "first", "second")
    # Read from the store once; then they are in memory.
    assert counted == [(3, 0)]
    # Only the queries.
    assert sum(rows) == 1 + 1
    assert [ranked.score for ranked in found[0].items] == pytest.approx(
        [ranked.score for ranked in expected[0].items], abs=1e-5
    )


def test_an_item_that_says_something_else_now_is_encoded_anew(replica, rows, item):
    one, other = replica("reranker", 1), replica("reranker", 1)
    one._store.put_histories({ANN: [item("one", "something else", id="one")]})
    held = one._versions.get("v1")
    encoder = held.scorer.encoder
    encoder.features([("something else: one", "", ())])
    one._items.write(encoder.fingerprint, ANN, {"one": "something else: one"})
    one._items.flush()
    rows.clear()
    order(other, item, "first")
    assert sum(rows) == 3 + 1


def test_nothing_is_written_of_who_has_no_such_item_or_where_settings_say_no(replica, item):
    one = replica("reranker", 1)
    order(one, item, "first")
    one._items.flush()
    encoder = one._versions.get("v1").scorer.encoder.fingerprint
    assert one._items._store.find(ANN, encoder, ["one", "two", "three"]) == {}
    assert replica("reranker", 1, store_encodings=False)._items is None


def test_a_store_that_does_not_answer_costs_time_and_no_request(replica, item, rows, caplog, monkeypatch):
    one = replica("reranker", 1)

    def fails(*_):
        raise StoreError("no route to the store")

    monkeypatch.setattr(EncodingStore, "find", fails)
    assert len(order(one, item, "first")[0].items) == 3
    assert "no route to the store" in caplog.text


def test_an_adapter_reads_only_what_is_new_and_chooses_as_without(replica, rows):
    plain, keeping = replica("adapter", 0), replica("adapter", 1)
    expected = choose(plain, "first", "second")
    rows.clear()
    found = choose(keeping, "first", "second")
    # Three candidates, two answers of which one is a candidate, and each query.
    assert sum(rows) == 3 + 1 + 1 + 1
    for one, other in zip(found, expected, strict=True):
        assert [candidate.text for candidate in one.candidates] == [candidate.text for candidate in other.candidates]
        scores = [candidate.score for candidate in one.candidates]
        assert scores == pytest.approx([candidate.score for candidate in other.candidates], abs=1e-5)


def test_the_adapter_takes_the_query_as_the_reranker_encoded_it(replica, rows, item):
    reranker, adapter, plain = replica("reranker", 1), replica("adapter", 1), replica("adapter", 0)
    (reply,) = order(reranker, item, "first")
    expected = choose(plain, "first")
    rows.clear()
    (choice,) = choose(adapter, "first", encoding=reply.encoding)
    assert sum(rows) == 3 + 1
    assert [candidate.score for candidate in choice.candidates] == pytest.approx(
        [candidate.score for candidate in expected[0].candidates], abs=1e-5
    )


def test_an_encoding_of_another_encoder_is_left(replica, rows):
    adapter, plain = replica("adapter", 1), replica("adapter", 0)
    expected = choose(plain, "first")
    other = Encoding("another", np.ones(32, np.float32))
    rows.clear()
    found = choose(adapter, "first", encoding=other)
    assert sum(rows) == 3 + 1 + 1
    assert found[0].candidates[0].text == expected[0].candidates[0].text


def test_without_room_the_reranker_hands_on_nothing(replica, item):
    assert order(replica("reranker", 0), item, "first")[0].encoding is None


def test_a_request_hands_its_querys_encoding_from_step_to_step(served):
    app = served()
    # As from another process: a view of the message that it came in.
    encoding = Encoding("minilm", np.ones((100, 384), np.float32)[0])
    app.reranker.answer = lambda ask, version: Reranked(list(ask[1]), encoding if ask[0].input == "Known?" else None)
    for text in ("Known?", "Not known?"):
        assert app.ask([{"role": "user", "content": text}], user="ann").status_code == 200
    handed, nothing = (ask[-2] for ask, _ in app.adapter.asked)
    assert nothing is None
    assert (handed.encoder, handed.vector.tolist()) == ("minilm", encoding.vector.tolist())
    # Kept for a while: the message is not to stay in memory with it.
    assert handed.vector.base is None
