"""What changed in a history since it was read is known from its version, whoever changed it and how."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.types import HistoryChange

ANN, BOB, NAMESAKE = UserKey("acme", "ann"), UserKey("acme", "bob"), UserKey("zeta", "ann")
USERS = (ANN, BOB, NAMESAKE)


def versions(store):
    return {key: store.history_version(key) for key in USERS}


def test_who_has_no_history_has_no_version(store):
    assert versions(store) == dict.fromkeys(USERS)
    assert store.history_change(ANN, None) == HistoryChange(None, True, [])
    assert store.delete_item(ANN, "a") is False
    store.delete(ANN)
    store.put_histories({ANN: []})
    assert versions(store) == dict.fromkeys(USERS)


def test_every_write_changes_the_version_of_its_user_and_nobody_elses(store, item):
    store.put_histories({key: [item("a"), item("b")] for key in USERS})
    writes = [
        lambda: store.append_history(ANN, item("c")),
        lambda: store.append_history(ANN, item("a", "another answer")),
        lambda: store.delete_item(ANN, "b"),
        lambda: store.put_histories({ANN: [item("a"), item("d")]}),
        lambda: store.put_histories({ANN: []}),
        lambda: store.put_histories({ANN: [item("a")]}),
        lambda: store.delete(ANN),
        lambda: store.append_history(ANN, item("a")),
    ]
    seen = [versions(store)]
    for write in writes:
        write()
        seen.append(versions(store))
    # Never the same again, so that nothing old is taken for what is there now.
    assert len({now[ANN] for now in seen}) == len(seen)
    assert len({(now[BOB], now[NAMESAKE]) for now in seen}) == 1


def test_what_changes_nothing_keeps_the_version(store, item):
    store.put_histories({ANN: [item("a"), item("b")]})
    before = versions(store)
    store.put_histories({ANN: [item("a"), item("b")]})
    store.delete_item(ANN, "c")
    store.put_heads("v1", "adapter", {ANN: None})
    assert versions(store) == before


def test_a_history_that_only_grew_is_read_from_where_it_was(store, item):
    store.put_histories({ANN: [item("a"), item("b")]})
    before = store.history_version(ANN)
    store.append_history(ANN, item("c"))
    store.put_histories({ANN: [item("a"), item("b"), item("c"), item("d")]})
    assert store.history_change(ANN, before) == HistoryChange(
        store.history_version(ANN), False, [(2, item("c")), (3, item("d"))]
    )


def test_the_place_of_an_item_that_is_gone_is_not_given_again(store, item):
    store.put_histories({ANN: [item("a"), item("b")]})
    before = store.history_version(ANN)
    store.delete_item(ANN, "b")
    store.append_history(ANN, item("c"))
    now = store.history_version(ANN)
    assert store.history_change(ANN, before) == HistoryChange(now, False, [(2, item("c"))], frozenset({0}))


def test_one_item_is_found_by_its_id(store, item):
    store.put_histories({ANN: [item("a"), item("b", "hers")], BOB: [item("b", "his")]})
    assert store.history_item(ANN, "b") == item("b", "hers")
    assert store.history_item(ANN, "c") is store.history_item(NAMESAKE, "b") is None


ids, outputs = st.sampled_from("abcd"), st.sampled_from(["drama", "comedy"])
items = st.builds(lambda name, output: HistoryItem(name, f"film {name}", output), ids, outputs)
unique = st.lists(items, max_size=5, unique_by=lambda item: item.id)
users = st.sampled_from([ANN, BOB])
writes = st.one_of(
    st.tuples(st.just("put"), users, unique),
    st.tuples(st.just("append"), users, items),
    st.tuples(st.just("delete item"), users, ids),
    st.tuples(st.just("delete"), users, st.none()),
)


def write(store, truth, what, user, about):
    """The same to a store and to histories as dicts."""
    if what == "put":
        store.put_histories({user: about})
        truth[user] = {item.id: item for item in about}
    elif what == "append":
        store.append_history(user, about)
        truth.setdefault(user, {}).pop(about.id, None)
        truth[user][about.id] = about
    elif what == "delete item":
        assert store.delete_item(user, about) is (about in truth.get(user, {}))
        truth.get(user, {}).pop(about, None)
    else:
        store.delete(user)
        truth[user] = {}


def follow(had, change):
    """What a reader has after a change, by place."""
    left = (
        {} if change.is_whole else {place: had[place] for place in had if change.left is None or place in change.left}
    )
    return left | dict(change.added)


@given(st.lists(st.tuples(writes, st.booleans()), max_size=14))
def test_who_follows_the_changes_has_what_is_there(lasting, steps):
    truth, read = {}, {user: (None, {}) for user in (ANN, BOB)}
    for user in (ANN, BOB):
        lasting.delete(user)
    for step, looks in [*steps, (None, True)]:
        if step:
            write(lasting, truth, *step)
        for user in (ANN, BOB) if looks else ():
            since, had = read[user]
            change = lasting.history_change(user, since)
            if since is not None and since == lasting.history_version(user):
                assert (change.added, change.left) == ([], None)
            now = follow(had, change)
            assert list(now) == sorted(now)
            assert list(now.values()) == list(lasting.history(user)) == list(truth.get(user, {}).values())
            read[user] = change.version, now


def test_a_rejected_answer_is_kept_with_its_item_and_changes_with_records(store, item):
    first = replace(item("a"), rejected="not this")
    store.put_histories({ANN: [first, item("b")]})
    assert store.history(ANN) == (first, item("b"))
    before = store.history_version(ANN)
    store.merge_histories({ANN: [first, item("b")]})
    assert store.history_version(ANN) == before
    store.merge_histories({ANN: [replace(first, rejected="nor this"), item("b")]})
    assert [one.rejected for one in store.history(ANN)] == ["nor this", None]
    store.append_history(ANN, replace(item("c"), rejected="no"))
    assert store.history_item(ANN, "c").rejected == "no"
    assert [row["rejected"] for row in store.records.rows(ANN)["history"]] == ["nor this", None, "no"]
