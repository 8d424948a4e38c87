"""API keys: random texts of which a hash is kept, with scopes that make sense."""

from hashlib import sha256

import pytest

from hydra_ray.records import HydraError
from hydra_ray.store.identity.keys import SCOPES, hash_of, new_key

NOW = 1000.0
PLAIN = {"now": NOW, "user": None, "name": "", "expires": None}


def test_a_key_shows_how_it_begins_and_keeps_its_secret_out_of_sight():
    key, text = new_key("acme", ["chat", "users"], **PLAIN)
    assert text.startswith(key.prefix)
    assert len(text) - len(key.prefix) >= 36
    assert text[len(key.prefix) :] not in repr(key) + str(key.as_dict())
    assert hash_of(text) == sha256(text.encode()).hexdigest()
    assert new_key("acme", ["chat"], **PLAIN)[1] != text


def test_a_key_says_what_it_is_in_plain_values():
    key, _ = new_key("acme", ["users", "chat"], now=0.0, user=" ann ", name="app", expires=86_400.0)
    told = key.as_dict()
    assert (told["tenant"], told["user"], told["name"], told["scopes"]) == ("acme", "ann", "app", ["chat", "users"])
    assert (told["created"], told["expires"]) == ("1970-01-01T00:00:00+00:00", "1970-01-02T00:00:00+00:00")
    assert told["rotated"] is told["revoked"] is None


@pytest.mark.parametrize(
    ("scopes", "more", "field"),
    [
        ([], {}, "scopes: a key needs at least one of chat, users, admin"),
        (["chat", "root"], {}, "scopes: there is no scope 'root'"),
        (["admin"], {"user": "ann"}, "user: a key with scope admin"),
        (["chat"], {"user": " "}, "user: is blank"),
        (["chat"], {"expires": NOW}, "expires: that is past"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(scopes, more, field):
    with pytest.raises(HydraError, match=field):
        new_key("acme", scopes, **{**PLAIN, **more})


def test_a_key_holds_until_it_expires():
    key, _ = new_key("acme", list(SCOPES), **{**PLAIN, "expires": NOW + 5})
    assert key.holds(NOW + 4.9)
    assert not key.holds(NOW + 5)
