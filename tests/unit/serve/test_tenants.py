"""Several tenants of one deployment: each has its own settings, and nothing of one reaches another."""

import pytest
from made_app import SAID

from hydra_ray.methods import METHODS
from hydra_ray.records import HydraError, UserKey
from hydra_ray.serve import app as served_app
from hydra_ray.serve.http.principal import Caller
from hydra_ray.settings import parse_settings
from hydra_ray.store.identity.keys import SCOPES


class ByName:
    """Callers say which tenant they are of."""

    async def __call__(self, headers, peer):
        return Caller(headers["x-tenant"], "k1", frozenset(SCOPES), None)


@pytest.fixture
def app(served):
    def make(**tenants):
        return served(method="rag", authenticate=ByName(), more={"tenants": tenants})

    return make


def ask(app, tenant, messages=SAID[-1:], **more):
    body = {"model": "hydra", "messages": messages, "user": "ann", **more}
    return app.client.post("/v1/chat/completions", json=body, headers={"X-Tenant": tenant})


def test_each_tenant_has_its_own_method_and_the_llm_is_asked_for_it(app):
    app = app(zeta={"method": "zero-shot"})
    assert [ask(app, tenant).json()["hydra"]["method"] for tenant in ("acme", "zeta")] == ["rag", "zero-shot"]
    assert [tenant for _, tenant in app.generator.asked] == ["acme", "zeta"]
    assert ask(app, "zeta", hydra={"method": "rag"}).json()["hydra"]["method"] == "rag"
    assert app.retriever.asked[-1][0].user == UserKey("zeta", "ann")


def test_each_tenant_says_whether_its_clients_instructions_are_told(app):
    app = app(zeta={"tell_system": False})
    prompts = []
    for tenant in ("acme", "zeta"):
        ask(app, tenant, SAID)
        prompts.append([message.role for message in app.prompt])
    assert ("system" in prompts[0], "system" in prompts[1]) == (True, False)


def test_where_nothing_is_personal_everybody_gets_the_shared_answer_and_teaches_nothing(app):
    app = app(zeta={"personal": False})
    told = ask(app, "zeta", hydra={"method": "hydra"}).json()["hydra"]
    assert (told["user"], told["personalised"], told["history"]) == ("ann", False, [])
    assert app.retriever.asked == []
    body = {"input": "x", "accepted": "y"}
    replies = [
        app.client.post("/v1/users/ann/feedback", json=body, headers={"X-Tenant": tenant})
        for tenant in ("acme", "zeta")
    ]
    assert [reply.status_code for reply in replies] == [200, 403]
    assert {user.tenant for user, *_ in app.adapter.learn.asked} == {"acme"}


def test_for_nobody_too_the_llm_is_asked_for_the_tenant(app):
    app = app(zeta={})
    ask(app, "zeta", user=None)
    assert app.generator.asked[-1][1] == "zeta"


def test_settings_are_a_tenants_where_it_says_so():
    settings = parse_settings(
        {
            "tenant": "acme",
            "peers": {"tenants": ["acme", "zeta", "gone"]},
            "auth": {"limits": {"tenant": {"requests_per_minute": 5}}},
            "tenants": {
                "zeta": {"share_with_peers": False, "limits": {"user": {"tokens_per_day": 7}}},
                "beta": {"share_with_peers": True},
                "acme": {"personal": False},
            },
        }
    )
    assert settings.served_tenants == ("acme", "zeta", "beta")
    acme, zeta, beta = map(settings.of_tenant, settings.served_tenants)
    assert {tenant.peers.tenants for tenant in (acme, zeta, beta)} == {("acme", "beta", "gone")}
    assert (acme.personal, zeta.personal) == (False, True)
    assert zeta.auth.limits.tenant.requests_per_minute is None
    assert zeta.auth.limits.user.tokens_per_day == 7
    assert beta.auth.limits.tenant.requests_per_minute == 5
    assert (zeta.tenant, zeta.serve.method) == ("zeta", settings.serve.method)


@pytest.mark.parametrize("name", ["", " ", " acme", "a\0", "x" * 65])
def test_a_tenant_needs_a_name(name):
    with pytest.raises(HydraError, match="tenants: "):
        parse_settings({"tenants": {name: {}}})


def test_all_that_is_wrong_with_overlays_is_said_at_once():
    wrong = {"acme": {"methd": "rag"}, "zeta": {"limits": {"user": {"requests_per_day": 0}}}}
    with pytest.raises(HydraError) as caught:
        parse_settings({"tenants": wrong})
    assert "tenants.acme.methd" in str(caught.value)
    assert "tenants.zeta.limits.user.requests_per_day" in str(caught.value)
    settings = parse_settings({"serve": {"method": "a"}, "tenants": {"acme": {"method": "b"}, "zeta": {"method": "c"}}})
    with pytest.raises(HydraError) as caught:
        served_app.build_app(settings)
    assert str(caught.value) == (
        "serve.method: there is no 'a'; tenants.acme.method: there is no 'b'; tenants.zeta.method: there is no 'c'; "
        f"there are {', '.join(METHODS)}"
    )


def test_passthrough_is_a_method_where_there_is_an_endpoint():
    endpoint = {"backend": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    with pytest.raises(HydraError, match=r"serve\.method: there is no 'passthrough'"):
        served_app.build_app(parse_settings({"serve": {"method": "passthrough"}}))
    arms = {"arms": {"raw": {"share": 0.2, "method": "passthrough"}}, "name": "raw", "key_env": "KEY"}
    with pytest.raises(HydraError, match=r"arms\.raw\.method: there is no 'passthrough'"):
        served_app.build_app(parse_settings({"serve": {"experiment": arms}}))
    served_app.check_methods(parse_settings({"generator": endpoint, "serve": {"experiment": arms}}))
