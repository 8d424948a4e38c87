import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.records import HistoryItem, PeerItem, Query, UserKey
from hydra_ray.steps.profiles.peers import PeerPool

ANN, BOB, CAT, DAN = (UserKey("acme", name) for name in ("ann", "bob", "cat", "dan"))
EVE = UserKey("other", "eve")


def found(peers):
    return [(peer.user.user, peer.item.id) for peer in peers]


@pytest.fixture
def pool(word_vectors):
    """Makes pools in which acme and other opted in."""
    return lambda histories, tenants=("acme", "other"): PeerPool(histories, word_vectors, tenants)


@pytest.fixture
def tastes(pool, item):
    return pool(
        {
            ANN: [item("robots in space", "great"), item("war in space", "great")],
            BOB: [item("a war of robots", "great"), item("robots in space again", "great")],
            CAT: [item("robots in space", "dull"), item("war in space", "dull")],
            DAN: [item("kings in love", "sweet")],
            EVE: [item("robots in space", "great"), item("war in space", "great")],
        }
    )


class TestSimilar:
    def test_users_of_like_taste_come_first_and_tell_by_inputs_and_answers(self, tastes, item):
        history = [item("robots in space", "great"), item("war in space", "great")]
        assert tastes.similar(ANN, history, 3) == [BOB, CAT, DAN]
        assert tastes.similar(ANN, history, 1) == [BOB]

    def test_somebody_new_has_peers_too(self, tastes, item):
        new = UserKey("acme", "new")
        assert tastes.similar(new, [item("kings in love", "sweet")], 1) == [DAN]
        assert set(tastes.similar(new, [item("kings")], 9)) == {ANN, BOB, CAT, DAN}

    def test_nobody_is_like_one_who_has_no_history(self, tastes):
        assert tastes.similar(ANN, [], 3) == []

    def test_other_tenants_are_never_similar(self, tastes, item):
        assert tastes.similar(EVE, [item("robots in space", "great")], 5) == []
        assert EVE not in tastes.similar(ANN, [item("robots in space", "great")], 5)


class TestComparable:
    def test_items_of_the_same_thing_go_before_like_ones(self, pool, item):
        histories = {
            BOB: [item("robots in space", "1", item_id="x"), item("old kings", "2", item_id="y", id="b2")],
            CAT: [item("kings of old", "3", item_id="y", id="c1")],
        }
        asked = item("robots in space", item_id="y")
        assert set(found(pool(histories).comparable(ANN, asked, 5, None, 0.0))) == {("bob", "b2"), ("cat", "c1")}

    def test_without_items_of_the_same_thing_near_inputs_count(self, pool, item):
        histories = {BOB: [item("robots in space", item_id="x"), item("kings in love")], CAT: [item("old cows")]}
        for asked in (item("robots in space now", item_id="unknown"), item("robots in space now")):
            assert found(pool(histories).comparable(ANN, asked, 5, None, 0.5)) == [("bob", "robots in space")]

    def test_a_peer_speaks_once_with_their_nearest_item(self, pool, item):
        histories = {
            BOB: [item("robots in deep space"), item("robots in space")],
            CAT: [item("robots in love"), item("robots in deep space")],
        }
        asked = item("robots in space")
        wanted = [("bob", "robots in space"), ("cat", "robots in deep space")]
        assert found(pool(histories).comparable(ANN, asked, 5, None, 0.1)) == wanted
        same_thing = {user: [item(one.input, item_id="x") for one in history] for user, history in histories.items()}
        assert found(pool(same_thing).comparable(ANN, item("robots in space", item_id="x"), 5, None, 0.1)) == wanted

    @pytest.mark.parametrize("item_id", [None, "x"])
    def test_only_earlier_items_count_and_undated_ones_only_where_all_do(self, pool, item, item_id):
        histories = {
            BOB: [item("robots", id="earlier", ts="2020-05-01", item_id=item_id)],
            CAT: [item("robots", id="same day", ts="2020-05-02", item_id=item_id)],
            DAN: [item("robots", id="undated", item_id=item_id)],
        }
        asked = item("robots", item_id=item_id)
        assert found(pool(histories).comparable(ANN, asked, 5, "2020-05-02", 0.1)) == [("bob", "earlier")]
        assert len(pool(histories).comparable(ANN, asked, 5, None, 0.1)) == 3

    @pytest.mark.parametrize(("ts", "counts"), [("2019", False), ("2019-02", True), ("2018", True)])
    def test_what_is_dated_by_its_year_may_be_later_than_a_day_of_it(self, pool, query, item, ts, counts):
        one = pool({BOB: [item("robots", ts=ts, item_id="x")]})
        like, same = item("robots"), item("robots", item_id="x")
        assert len(one.comparable(ANN, like, 5, "2019-03-01", 0.1)) == counts
        assert len(one.comparable(ANN, same, 5, "2019-03-01", 0.1)) == counts
        assert len(one.concerning(query("robots"), [item("robots")], 5, 9, "2019-03-01")) == counts

    def test_later_items_of_the_same_thing_do_not_hide_like_ones(self, pool, item):
        histories = {
            BOB: [item("robots", id="later", ts="2021", item_id="x")],
            CAT: [item("robots", id="like", ts="2019", item_id="y")],
        }
        asked = item("robots", item_id="x")
        assert found(pool(histories).comparable(ANN, asked, 5, "2020", 0.1)) == [("cat", "like")]

    def test_what_is_far_is_not_comparable(self, pool, item):
        histories = {BOB: [item("robots in love")]}
        assert pool(histories).comparable(ANN, item("robots in space"), 5, None, 0.9) == []
        assert len(pool(histories).comparable(ANN, item("robots in space"), 5, None, 0.5)) == 1

    def test_enough_peers_are_found_behind_many_items_of_ones_own(self, pool, item):
        histories = {ANN: [item("robots", id=str(n)) for n in range(300)], BOB: [item("robots in space", id="b")]}
        assert found(pool(histories).comparable(ANN, item("robots"), 1, None, 0.1)) == [("bob", "b")]

    def test_most_counts_peers(self, pool, item):
        histories = {UserKey("acme", str(n)): [item("robots")] for n in range(30)}
        assert len(pool(histories).comparable(ANN, item("robots"), 7, None, 0.1)) == 7
        assert pool(histories).comparable(ANN, item("robots"), 0, None, 0.1) == []


class TestConcerning:
    def test_items_of_similar_users_are_ranked_for_the_query(self, tastes, query, item):
        history = [item("robots in space", "great"), item("war in space", "great")]
        ranked = tastes.concerning(query("a war of robots"), history, 1, 5, None)
        assert [one.item.input for one in ranked] == ["a war of robots", "robots in space again"]
        assert ranked[0].score == pytest.approx(1, abs=1e-4)
        assert ranked[0].score > ranked[1].score > 0

    def test_more_users_bring_more_items_and_k_limits_them(self, tastes, query, item):
        history = [item("robots in space", "great")]
        assert len(tastes.concerning(query("robots"), history, 9, 9, None)) == 5
        assert len(tastes.concerning(query("robots"), history, 9, 2, None)) == 2
        assert tastes.concerning(query("robots"), history, 9, 0, None) == []

    def test_only_earlier_items_count(self, pool, query, item):
        histories = {BOB: [item("robots", id=ts or "none", ts=ts) for ts in ("2019", "2020", "2021", None)]}
        ranked = pool(histories).concerning(query("robots"), [item("robots")], 5, 9, "2020")
        assert [one.item.id for one in ranked] == ["2019"]

    def test_what_is_not_to_be_kept_makes_place_for_the_next(self, tastes, query, item):
        history = [item("robots in space", "great")]
        ranked = tastes.concerning(
            query("a war of robots"), history, 1, 1, None, keep=lambda peer: peer.item.input != "a war of robots"
        )
        assert [one.item.input for one in ranked] == ["robots in space again"]


def test_a_tenant_that_did_not_opt_in_gets_and_gives_nothing(pool, item, query):
    closed = pool({ANN: [item("robots")], BOB: [item("robots")], EVE: [item("robots")]}, tenants=["other"])
    assert closed.similar(ANN, [item("robots")], 5) == []
    assert closed.comparable(ANN, item("robots"), 5, None, 0.0) == []
    assert closed.concerning(query("robots"), [item("robots")], 5, 5, None) == []
    assert closed.comparable(EVE, item("robots"), 5, None, 0.0) == []


def test_texts_of_tenants_that_did_not_opt_in_are_never_embedded(item):
    def never(texts):
        raise AssertionError(texts)

    PeerPool({ANN: [item("secret")]}, never, ["other"]).prepare("acme")


def test_a_tenants_items_are_encoded_once_whoever_asks(word_vectors, item):
    encoded = []

    def embed(texts):
        encoded.extend(texts)
        return word_vectors(texts)

    pool = PeerPool({ANN: [item("robots", "a")], BOB: [item("kings", "b")]}, embed, ["acme"])
    assert encoded == []
    threads = [threading.Thread(target=pool.prepare, args=("acme",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.comparable(ANN, item("kings of old"), 1, None, 0.1)
    assert [encoded.count(text) for text in ("robots", "kings", "a", "b", "kings of old")] == [1] * 5


def test_a_large_tenant_is_indexed_whole(pool, item, monkeypatch):
    monkeypatch.setattr("hydra_ray.steps.profiles.peers._CHUNK", 3)
    histories = {UserKey("acme", str(n)): [item(f"thing{n} a", "x"), item(f"thing{n} b", "y")] for n in range(5)}
    for n in range(5):
        (peer,) = pool(histories).comparable(ANN, item(f"thing{n} b"), 1, None, 0.9)
        assert peer == PeerItem(UserKey("acme", str(n)), item(f"thing{n} b", "y"))
        assert pool(histories).similar(ANN, histories[UserKey("acme", str(n))], 1) == [UserKey("acme", str(n))]


WORDS = st.sampled_from(["robots in space", "robots in love", "kings in love", "old cows"])
DATES = st.sampled_from([None, "2019", "2020", "2020-06", "2021"])
ITEMS = st.builds(HistoryItem, st.uuids().map(str), WORDS, WORDS, DATES, st.sampled_from([None, "x", "y"]))
USERS = st.builds(UserKey, st.sampled_from(["acme", "other", "shut"]), st.sampled_from(["ann", "bob", "cat"]))


@given(st.dictionaries(USERS, st.lists(ITEMS, max_size=5)), USERS, ITEMS, st.integers(0, 4), DATES)
def test_nobody_sees_their_own_anothers_or_later_texts(word_vectors, histories, user, asked, most, before):
    pool = PeerPool(histories, word_vectors, ["acme", "other"])
    peers = pool.comparable(user, asked, most, before, 0.3)
    assert len(peers) == len({peer.user for peer in peers}) <= most
    assert all(peer.item in histories[peer.user] for peer in peers)
    assert all(peer.user.tenant == user.tenant != "shut" and peer.user != user for peer in peers)
    similar = pool.similar(user, histories.get(user, []), most)
    assert all(other.tenant == user.tenant != "shut" and other != user for other in similar)
    query = Query("q", user, asked.input, before)
    ranked = [one.item for one in pool.concerning(query, histories.get(user, []), most, 3, before)]
    others = [one for other, history in histories.items() if other != user for one in history]
    assert all(one in others for one in ranked)
    seen = [peer.item for peer in peers] + ranked
    assert before is None or all(one.ts and one.ts < before and not before.startswith(one.ts) for one in seen)
