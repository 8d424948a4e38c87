"""Whether `hydra-ray serve` wants keys: of everybody but this machine, whatever else settings say."""

import pytest

from hydra_ray.records import HydraError
from hydra_ray.serve.app import _authenticate
from hydra_ray.serve.http.keys import KeyAuthenticate
from hydra_ray.serve.http.principal import TrustThisMachine
from hydra_ray.serve.local import with_auth
from hydra_ray.settings import parse_settings


@pytest.mark.parametrize(
    ("said", "host", "mode"),
    [
        (None, "127.0.0.1", "off"),
        (None, "localhost", "off"),
        (None, "::1", "off"),
        (None, "0.0.0.0", "keys"),
        (None, "::", "keys"),
        (None, "192.168.1.5", "keys"),
        ("keys", "127.0.0.1", "keys"),
        ("off", "127.0.0.1", "off"),
        # As YAML reads the word.
        (False, "127.0.0.1", "off"),
    ],
)
def test_who_is_asked_for_keys(said, host, mode):
    assert with_auth(parse_settings({"auth": {"mode": said}}), host).auth.mode == mode


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_nobody_else_is_served_without_keys(host):
    with pytest.raises(HydraError) as caught:
        with_auth(parse_settings({"auth": {"mode": "off"}}), host)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("auth.mode: off is for this machine alone")
    assert host in str(caught.value)


def test_an_application_wants_keys_unless_settings_say_otherwise(monkeypatch):
    settings = parse_settings({"tenant": "acme", "tenants": {"zeta": {}}, "serve": {"key_cache_s": 5}})
    authenticate = _authenticate(settings)
    assert isinstance(authenticate, KeyAuthenticate)
    assert (authenticate.tenants, authenticate.cache_s) == (frozenset({"acme", "zeta"}), 5)
    off = parse_settings({"auth": {"mode": "off"}})
    assert _authenticate(off) == TrustThisMachine("default")
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    with pytest.raises(HydraError, match="HAProxy"):
        _authenticate(off)


@pytest.mark.parametrize("mode", ["on", True, "yes", "none", ""])
def test_no_other_word_is_a_mode(mode):
    with pytest.raises(HydraError, match=r"auth\.mode"):
        parse_settings({"auth": {"mode": mode}})
