"""Settings of the front door: what names the user, and who may ask."""

import pytest

from hydra_ray.settings import Settings, SettingsError, parse_settings


def test_by_default_openais_parameter_names_the_user_and_nothing_else_is_open():
    serve = Settings().serve
    assert serve.user_from == ("user",)
    assert serve.cors_origins == ()
    assert serve.tell_system
    assert serve.sampling == "deployment"


@pytest.mark.parametrize(
    "told",
    [
        {"user_from": ["header:X-OpenWebUI-User-Id", "safety_identifier", "metadata.user id", "user"]},
        {"cors_origins": ["*"]},
        {"cors_origins": ["https://app.example.com", "http://localhost:3000", "tauri://localhost"]},
        {"max_body_mb": 0.5},
        {"tell_system": False, "sampling": "client", "max_tokens": 100},
    ],
)
def test_what_can_be_told(told):
    serve = parse_settings({"serve": told}).serve
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in serve if name in told} == told


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"user_from": []}, "serve.user_from: "),
        ({"user_from": "user"}, "serve.user_from: "),
        ({"user_from": ["User"]}, "'User' is none of user, safety_identifier, metadata.FIELD and header:NAME"),
        ({"user_from": ["metadata."]}, "'metadata.' is none of"),
        ({"user_from": ["header:"]}, "'header:' is none of"),
        ({"user_from": ["header:X User"]}, "'header:X User' is none of"),
        ({"cors_origins": ["https://app.example.com/"]}, "'https://app.example.com/' is no origin"),
        ({"cors_origins": ["app.example.com"]}, "'app.example.com' is no origin"),
        ({"max_body_mb": 0}, "serve.max_body_mb: "),
    ],
)
def test_what_would_never_work_is_refused(told, reason):
    with pytest.raises(SettingsError) as caught:
        parse_settings({"serve": told})
    assert reason in str(caught.value)
