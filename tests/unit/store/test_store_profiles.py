"""Profiles in the store: who wrote them of what, and that nobody stays in somebody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.records import UserKey
from hydra_ray.store.types import ProfileFingerprint, UserProfile

ANN, BOB, CLEO = (UserKey("acme", name) for name in ("ann", "bob", "cleo"))
NAMESAKE = UserKey("zeta", "bob")
MARK = ProfileFingerprint("how", "what", 3)

texts = st.text(st.characters(exclude_categories=["Cs"]))
fingerprints = st.builds(ProfileFingerprint, texts, texts, st.integers(0, 2**31))


@pytest.fixture
def store(store, item):
    store.put_histories({key: [item("film")] for key in (ANN, BOB, CLEO, NAMESAKE)})
    return store


@pytest.fixture(scope="module")
def lasting(lasting, item):
    lasting.put_histories({key: [item("film")] for key in (ANN, BOB, CLEO)})
    return lasting


@given(
    st.builds(
        UserProfile,
        texts,
        texts,
        fingerprints,
        st.sampled_from([(), (BOB,), (BOB, CLEO)]),
        st.booleans(),
        st.integers(0, 99),
    )
)
def test_any_profile_comes_back_as_it_was(lasting, profile):
    assert lasting.put_profiles([(ANN, profile)]) == 1
    assert lasting.profile(ANN, profile.kind) == profile
    assert lasting.profile_fingerprints(profile.kind)[ANN] == profile.fingerprint


def test_each_kind_and_user_has_a_profile_of_its_own_and_a_new_one_replaces_it(store):
    first, other = UserProfile("dpl", "old", MARK, (BOB, CLEO)), UserProfile("pag", "summary", MARK)
    assert store.put_profiles([(ANN, first), (ANN, other), (BOB, UserProfile("dpl", "his", MARK))]) == 3
    new = UserProfile("dpl", "new", ProfileFingerprint("how", "more", 9), (CLEO,), True, 2)
    store.put_profiles([(ANN, new)])
    assert (store.profile(ANN, "dpl"), store.profile(ANN, "pag"), store.profile(BOB, "dpl").text) == (new, other, "his")
    assert store.profile(CLEO, "dpl") is None
    assert store.profile_fingerprints("dpl") == {ANN: new.fingerprint, BOB: MARK}


def test_deleting_a_user_takes_their_profiles_and_those_made_with_their_texts(store):
    store.put_profiles(
        [
            (BOB, UserProfile("pag", "of bob", MARK)),
            (BOB, UserProfile("dpl", "of bob", MARK, (ANN,))),
            (ANN, UserProfile("dpl", "with bob", MARK, (BOB, CLEO))),
            (ANN, UserProfile("pag", "without", MARK)),
            (CLEO, UserProfile("dpl", "with ann", MARK, (ANN,))),
            (NAMESAKE, UserProfile("dpl", "of another", MARK)),
        ]
    )
    store.delete(BOB)
    assert store.profile(BOB, "pag") is store.profile(BOB, "dpl") is store.profile(ANN, "dpl") is None
    assert store.profile(ANN, "pag").text == "without"
    assert store.profile(CLEO, "dpl").text == "with ann"
    assert store.profile(NAMESAKE, "dpl").text == "of another"
    # Nothing of the deleted ones is left to take others with it.
    store.delete(CLEO)
    assert store.profile(ANN, "pag").text == "without"


def test_another_tenants_user_of_the_same_name_takes_nothing_with_them(store):
    store.put_profiles([(ANN, UserProfile("dpl", "with bob", MARK, (BOB,)))])
    store.delete(NAMESAKE)
    assert store.profile(ANN, "dpl").peers == (BOB,)


def test_a_history_that_changes_leaves_profiles_and_one_whose_item_is_taken_back_does_not(store, item):
    profile = UserProfile("dpl", "with bob", MARK, (BOB,))
    store.put_profiles([(ANN, profile), (BOB, UserProfile("pag", "of bob", MARK))])
    store.append_history(BOB, item("more"))
    store.append_history(ANN, item("more"))
    store.put_histories({ANN: [item("film"), item("third")]})
    assert (store.profile(ANN, "dpl"), store.profile(BOB, "pag").text) == (profile, "of bob")
    assert store.delete_item(BOB, "more") is True
    assert store.profile(ANN, "dpl") is store.profile(BOB, "pag") is None


@pytest.mark.parametrize("gone", [ANN, BOB])
def test_who_is_deleted_while_a_profile_is_written_does_not_come_back_in_it(store, gone):
    old, written = UserProfile("dpl", "old", MARK, (CLEO,)), UserProfile("dpl", "with bob", MARK, (BOB, CLEO))
    store.put_profiles([(ANN, old)])
    store.delete(gone)
    assert store.put_profiles([(ANN, written), (CLEO, UserProfile("pag", "hers", MARK))]) == 1
    assert store.profile(ANN, "dpl") is None
    assert store.profile(CLEO, "pag").text == "hers"


def with_her_text(store, item):
    """Profiles of three users, of which two tell of what Bob said; and one of a namesake of his."""
    store.put_profiles(
        [
            (ANN, UserProfile("dpl", "with bob", MARK, (BOB,))),
            (BOB, UserProfile("pag", "of bob", MARK)),
            (CLEO, UserProfile("dpl", "with ann", MARK, (ANN,))),
            (NAMESAKE, UserProfile("pag", "of another", MARK)),
        ]
    )


def observed(store):
    """Whose profiles are there."""
    keys = {"ann": (ANN, "dpl"), "bob": (BOB, "pag"), "cleo": (CLEO, "dpl"), "namesake": (NAMESAKE, "pag")}
    return {name for name, (key, kind) in keys.items() if store.profile(key, kind)}


def test_a_rejection_of_an_item_takes_the_profiles_that_tell_of_it(store, item):
    with_her_text(store, item)
    with store.updating_observations(BOB, "v1", "adapter") as update:
        assert update.delete_item("no such film") is False
    assert observed(store) == {"ann", "bob", "cleo", "namesake"}
    with store.updating_observations(BOB, "v1", "adapter") as update:
        assert update.delete_item("film") is True
    assert observed(store) == {"cleo", "namesake"}


@pytest.mark.parametrize("by", ["store", "update"])
def test_a_text_that_is_replaced_takes_the_profiles_that_tell_of_it(store, item, by):
    def say(said):
        if by == "store":
            store.append_history(BOB, said)
        else:
            with store.updating_observations(BOB, "v1", "adapter") as update:
                update.append_history(said)

    with_her_text(store, item)
    say(item("another film"))
    # Said again as it was.
    say(item("film", ts="2004"))
    assert observed(store) == {"ann", "bob", "cleo", "namesake"}
    say(item("film", "another answer"))
    assert observed(store) == {"cleo", "namesake"}


def test_profiles_stay_where_the_change_is_undone(store, item):
    with_her_text(store, item)

    def fail():
        with store.updating_observations(BOB, "v1", "adapter") as update:
            update.delete_item("film")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert observed(store) == {"ann", "bob", "cleo", "namesake"}
    assert store.history(BOB) == (item("film"),)
