import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from torch.testing import assert_close

from hydra_ray.records import HistoryItem, HydraError, UserKey
from hydra_ray.store.users import UserStore

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
HER_NAMESAKE = UserKey("zeta", "ann")
HEAD = {"out": torch.tensor([1.0, -2.5]), "project": torch.arange(6.0).view(2, 3)}

# Lone surrogates are no text: they cannot be written as UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]))
items = st.builds(HistoryItem, texts, texts, texts, st.none() | texts, st.none() | texts, texts)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'users.db'}"


@pytest.fixture
def store(url):
    store = UserStore(url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    return UserStore(f"sqlite:///{tmp_path_factory.mktemp('store') / 'users.db'}")


@given(history=st.lists(items, max_size=6, unique_by=lambda item: item.id), key=st.builds(UserKey, texts, texts))
def test_any_history_comes_back_as_it_was(lasting, history, key):
    lasting.put_history(key, history)
    assert lasting.history(key) == tuple(history)


def test_a_history_keeps_its_order_whatever_its_ids_and_dates(store, item):
    history = (item("b", ts="2003"), item("10", ts="2001"), item("a"), item("9", ts="2002"))
    store.put_history(ANN, history)
    assert store.history(ANN) == history


def test_a_new_history_replaces_the_old_one(store, item):
    store.put_history(ANN, [item("a", "old"), item("b")])
    store.put_history(ANN, [item("c"), item("a", "new")])
    assert store.history(ANN) == (item("c"), item("a", "new"))
    store.put_history(ANN, [])
    assert store.history(ANN) == ()


def test_a_history_that_cannot_be_written_leaves_the_old_one(store, item):
    store.put_history(ANN, [item("a")])
    with pytest.raises(IntegrityError):
        store.put_history(ANN, [item("b"), item("b")])
    assert store.history(ANN) == (item("a"),)


def test_users_of_one_name_are_apart_in_each_tenant(store, item):
    store.put_history(ANN, [item("a", "hers")])
    store.put_history(HER_NAMESAKE, [item("a", "another's")])
    store.put_heads("v1", "adapter", {HER_NAMESAKE: HEAD})
    assert store.history(ANN) == (item("a", "hers"),)
    assert store.head(ANN, "v1", "adapter") is None
    assert store.users_with_head("v1", "adapter") == [HER_NAMESAKE]


def test_an_unknown_user_has_nothing(store):
    assert store.history(ANN) == ()
    assert store.head(ANN, "v1", "adapter") is None
    store.delete(ANN)


def test_a_head_comes_back_as_it_was(store):
    store.put_heads("v1", "adapter", {ANN: HEAD})
    assert_close(store.head(ANN, "v1", "adapter"), HEAD, rtol=0, atol=0)


def test_each_version_and_role_has_heads_of_its_own(store):
    heads = {
        (version, role): {"out": torch.tensor([float(number)])}
        for number, (version, role) in enumerate([("v1", "adapter"), ("v1", "reranker"), ("v2", "adapter")])
    }
    for (version, role), head in heads.items():
        store.put_heads(version, role, {ANN: head})
    store.put_heads("v2", "adapter", {BOB: HEAD})
    for (version, role), head in heads.items():
        assert_close(store.head(ANN, version, role), head)
    assert store.head(ANN, "v2", "reranker") is None
    assert store.head(BOB, "v1", "adapter") is None
    assert store.users_with_head("v2", "adapter") == [ANN, BOB]
    assert store.users_with_head("v1", "adapter") == [ANN]


def test_a_new_head_replaces_the_old_one_of_its_user_only(store):
    store.put_heads("v1", "adapter", {ANN: HEAD, BOB: HEAD})
    store.put_heads("v1", "adapter", {ANN: {"out": torch.zeros(1)}})
    assert_close(store.head(ANN, "v1", "adapter"), {"out": torch.zeros(1)})
    assert_close(store.head(BOB, "v1", "adapter"), HEAD)


def test_deleting_removes_exactly_one_user(store, item):
    keys = [ANN, BOB, HER_NAMESAKE, UserKey("acme", "ann2"), UserKey("acme", "Ann"), UserKey("acme", "a%")]
    for version, role in (("v1", "adapter"), ("v2", "reranker")):
        store.put_heads(version, role, dict.fromkeys(keys, HEAD))
    for key in keys:
        store.put_history(key, [item("a"), item("b")])
    store.delete(ANN)
    assert store.history(ANN) == ()
    assert store.head(ANN, "v1", "adapter") is store.head(ANN, "v2", "reranker") is None
    for key in keys[1:]:
        assert len(store.history(key)) == 2
        assert_close(store.head(key, "v1", "adapter"), HEAD)
        assert_close(store.head(key, "v2", "reranker"), HEAD)
    store.delete(UserKey("acme", "a%"))
    assert len(store.history(UserKey("acme", "ann2"))) == 2


def test_users_survive_reopening(store, url, item):
    store.put_history(ANN, [item("a")])
    store.put_heads("v1", "adapter", {ANN: HEAD})
    store.close()
    again = UserStore(url)
    assert again.history(ANN) == (item("a"),)
    assert_close(again.head(ANN, "v1", "adapter"), HEAD)
    again.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:////no/such/folder/users.db", "sqlite:////no/such/folder/users.db cannot be opened: unable to open"),
        ("nosuch://host/users", "nosuch://host/users cannot be opened: Can't load plugin"),
    ],
)
def test_a_database_that_cannot_be_opened_is_named(url, told):
    with pytest.raises(HydraError, match=rf"^model\.store: {told}"):
        UserStore(url)


def test_a_password_is_never_in_an_error():
    with pytest.raises(HydraError) as caught:
        UserStore("nosuch://ann:secret@host/users")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "users.db", "postgresql://ann:secret@host:port/users"])
def test_a_malformed_url_is_named(url):
    with pytest.raises(HydraError, match=r"^model\.store: ") as caught:
        UserStore(url)
    assert "secret" not in str(caught.value)
