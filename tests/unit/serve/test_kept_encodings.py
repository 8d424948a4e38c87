"""Replicas keep encodings: what was encoded for one request, or for another version, is not encoded again."""

import numpy as np
import pytest

from hydra_ray.learn.heads.item_encodings import ItemText
from hydra_ray.models.encodings import Encoding, text_digest
from hydra_ray.records import Candidate, Query, Ranked, UserKey
from hydra_ray.serve.reranker import Reranked
from hydra_ray.settings import parse_settings
from hydra_ray.store.types import StoreError
from hydra_ray.store.user_rows.encodings import EncodingStore, ItemEncoding
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
        one._encodings.close()
        one._versions.close()


def order(reranker, item, *queries):
    ranked = tuple(Ranked(item(text, f"answer {text}"), 1.0) for text in ("one", "two", "three"))
    held = reranker._versions.get("v1")
    return [reranker._rerank(held, [(Query(text, ANN, text), ranked, ANN)])[0] for text in queries]


def digests(replica):
    """Digests of what is kept of the user in the store."""
    return replica._encodings.items._store.kept([ANN]).get(ANN, set())


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
    one._encodings.items.flush()
    other, counted = replica("reranker", 1), []
    other._encodings.items._noted = lambda *numbers: counted.append(numbers)
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
    said = item("one", "something else")
    encoder = one._versions.get("v1").scorer.encoder
    encoder.encodings(["something else: one"])
    one._encodings.items.write(encoder, ANN, [ItemText(said, "something else: one")])
    one._encodings.items.flush()
    assert digests(one) == {text_digest(encoder.fingerprint, "something else: one")}
    rows.clear()
    order(other, item, "first")
    assert sum(rows) == 3 + 1


def test_nothing_is_written_of_who_has_no_such_item_or_where_settings_say_no(replica, item):
    one = replica("reranker", 1)
    order(one, item, "first")
    one._encodings.items.flush()
    assert digests(one) == set()
    assert replica("reranker", 1, store_encodings=False)._encodings.items is None


@pytest.mark.parametrize(
    "damaged",
    [b"", np.ones(31, np.float32).tobytes(), np.full(32, np.nan, np.float32).tobytes(), np.ones(16).tobytes()[:-1]],
)
def test_a_damaged_encoding_is_told_of_once_and_made_anew(replica, rows, item, caplog, damaged):
    one = replica("reranker", 1)
    items = [item(text, f"answer {text}") for text in ("one", "two", "three")]
    one._store.put_histories({ANN: items})
    expected = order(one, item, "first")[0]
    one._encodings.items.flush()
    encoder = one._versions.get("v1").scorer.encoder.fingerprint
    wrong = [ItemEncoding(one, text_digest(encoder, f"{one.output}: {one.input}"), damaged) for one in items[:2]]
    one._encodings.items._store.put(encoder, {ANN: wrong})
    other = replica("reranker", 1)
    rows.clear()
    found = order(other, item, "first", "first")
    # The query, and the two that were damaged.
    assert sum(rows) == 1 + 2
    assert [ranked.score for ranked in found[1].items] == pytest.approx(
        [ranked.score for ranked in expected.items], abs=1e-5
    )
    assert caplog.text.count("damaged") == 1
    assert "2 encodings in the store are damaged" in caplog.text
    other._encodings.items.flush()
    third = replica("reranker", 1)
    rows.clear()
    order(third, item, "second")
    assert sum(rows) == 1


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


def test_another_adapter_does_not_encode_past_answers_that_one_has_encoded(replica, rows, item):
    one = replica("adapter", 1)
    one._store.put_histories({ANN: [item("asked", "yes"), item("asked later", "never"), item("not retrieved", "no")]})
    expected = choose(one, "first")
    one._encodings.items.flush()
    assert len(digests(one)) == 2
    other = replica("adapter", 1)
    rows.clear()
    found = choose(other, "second", "first")
    # The queries, and two candidates that are no past answers.
    assert sum(rows) == 2 + 2
    assert [candidate.score for candidate in found[1].candidates] == pytest.approx(
        [candidate.score for candidate in expected[0].candidates], abs=1e-5
    )


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


async def test_a_query_that_one_adapter_encoded_is_not_encoded_by_another_nor_again(replica, rows):
    from hydra_ray.serve.adapter import _encode

    one, other, plain = replica("adapter", 1), replica("adapter", 1), replica("adapter", 0)
    expected = choose(plain, "first")
    rows.clear()
    # Of several requests, one of them twice.
    encoding, _, again = _encode(one._versions.get("v1"), ["first", "second", "first"])
    assert sum(rows) == 2
    assert again.vector.tolist() == encoding.vector.tolist()
    assert (await one.encode("first", "v1")).vector.tolist() == encoding.vector.tolist()
    assert sum(rows) == 2
    (choice,) = choose(other, "first", encoding=encoding)
    # Three candidates and a past answer.
    assert sum(rows) == 2 + 3 + 1
    assert [candidate.score for candidate in choice.candidates] == pytest.approx(
        [candidate.score for candidate in expected[0].candidates], abs=1e-5
    )


def test_without_room_the_reranker_hands_on_nothing(replica, item):
    assert order(replica("reranker", 0), item, "first")[0].encoding is None


def test_a_request_hands_its_querys_encoding_from_step_to_step(served):
    app = served(more={"method": {"rerank": True}})
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
