"""An online experiment over HTTP: what arms do, who is in none, what is told and what is kept."""

import pytest
from made_app import SAID
from openai_endpoint import serving
from passing_apps import TOOLS, passing

from hydra_ray.methods.ports import StepError
from hydra_ray.records import HydraError
from hydra_ray.serve.app import check_methods
from hydra_ray.serve.http.keys import KeyAuthenticate
from hydra_ray.settings import parse_settings
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.identity.keys import new_key
from hydra_ray.store.schema import open_database

KEY = "HYDRA_TEST_EXPERIMENT_KEY"


@pytest.fixture
def app(served, tmp_path, monkeypatch):
    """Makes an app with an experiment, of whose arms each is everybody's."""
    monkeypatch.setenv(KEY, "sixteen bytes or more")
    made = []

    def make(arms=None, authenticate=None, llm=None, **experiment):
        more = {"store": {"url": f"sqlite:///{tmp_path / 'users.db'}"}}
        tree = {"name": "spring", "key_env": KEY, "arms": arms or {}, **experiment}
        if llm is None:
            made.append(served(authenticate=authenticate, more=more, experiment=tree))
        else:
            made.append(passing(served, llm, more=more, experiment=tree))
        return made[-1]

    yield make
    for one in made:
        one.ingress._switch.close()
        one.ingress._completions.close()


def hydra(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()["hydra"]


def kept(app, reply):
    assert app.ingress._completions.settle("acme", reply.json()["id"], 30)
    return CompletionLog(open_database(app.ingress._settings.store_target)).find("acme", reply.json()["id"])


def test_an_arm_has_a_method_of_its_own_and_is_kept_with_its_propensity(app):
    app = app({"cheap": {"share": 0.999999, "method": "rag"}})
    reply = app.ask(SAID[-1:], user="ann")
    about = hydra(reply)
    assert (about["method"], about["arm"], about["propensity"], about["personalised"]) == (
        "rag",
        "cheap",
        0.999999,
        True,
    )
    one = kept(app, reply)
    assert (one.arm, one.propensity, one.method, one.user) == ("spring/cheap", 0.999999, "rag", "ann")


def test_the_holdout_is_answered_as_nobody_and_compared_all_the_same(app):
    app = app(holdout=0.999999)
    reply = app.ask(SAID[-1:], user="ann")
    about = hydra(reply)
    assert (about["arm"], about["personalised"], about["history"], about["head"]) == ("holdout", False, [], "shared")
    assert app.retriever.asked == []
    # Without the user's name nothing could be counted by user, and no feedback could be given.
    assert (kept(app, reply).user, kept(app, reply).arm) == ("ann", "spring/holdout")


def test_an_arm_that_is_off_is_answered_as_nobody(app):
    about = hydra(app({"none": {"share": 1, "head": "off"}}).ask(SAID[-1:], user="ann"))
    assert (about["arm"], about["personalised"], about["history"]) == ("none", False, [])


def test_an_arm_with_the_shared_head_still_has_the_users_history(app):
    app = app({"flat": {"share": 1, "head": "shared"}})
    about = hydra(app.ask(SAID[-1:], user="ann"))
    assert (about["arm"], about["personalised"], about["head"]) == ("flat", True, "shared")
    assert [item["id"] for item in about["history"]] == ["1"]
    assert app.adapter.asked[-1][0][-1] is None


def test_an_arm_whose_version_cannot_answer_is_answered_by_the_one_served_and_says_so(app):
    about = hydra(app({"new": {"share": 1, "version": "candidate"}}).ask(SAID[-1:], user="ann"))
    assert (about["arm"], about["version"]) == ("new", "v1")
    assert "experiment" in about["degraded"]


@pytest.mark.parametrize(
    "asked", [{}, {"user": "ann", "hydra": {"method": "rag"}}, {"user": "ann", "model": "hydra@production"}]
)
def test_who_names_method_or_version_and_who_is_nobody_are_in_no_experiment(app, asked):
    app = app({"cheap": {"share": 1, "method": "zero-shot"}})
    reply = app.client.post("/v1/chat/completions", json={"model": "hydra", "messages": SAID[-1:], **asked})
    about = hydra(reply)
    assert (about["arm"], about["propensity"]) == (None, 1.0)
    assert about["method"] != "zero-shot"
    assert (kept(app, reply).arm, kept(app, reply).propensity) == (None, 1.0)


def test_who_switched_personalisation_off_is_in_no_experiment(app):
    app = app({"cheap": {"share": 1, "method": "rag"}})
    app.client.patch("/v1/users/ann", json={"personalisation": False})
    about = hydra(app.ask(SAID[-1:], user="ann"))
    assert (about["arm"], about["method"], about["personalised"]) == (None, "hydra", False)


def test_the_arm_is_told_to_who_may_see_the_users_data_alone(app, tmp_path):
    url = f"sqlite:///{tmp_path / 'users.db'}"
    app = app({"cheap": {"share": 1}}, authenticate=KeyAuthenticate(url, frozenset({"acme"}), 0))
    found = {}
    for scopes in (["chat"], ["chat", "users"]):
        key, text = new_key("acme", scopes, now=0.0, user=None, name="", expires=None)
        app.ingress._admin._keys.add(key, text, "cli:me")
        body = {"model": "hydra", "messages": SAID[-1:], "user": "ann"}
        reply = app.client.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {text}"})
        found[len(scopes)] = hydra(reply)
    assert "arm" not in found[1]
    assert "propensity" not in found[1]
    assert found[2]["arm"] == "cheap"


def test_a_switch_ends_personalisation_for_everybody_and_the_experiment_with_it(app):
    app = app({"cheap": {"share": 1, "method": "rag"}})
    turned = app.client.patch("/v1/admin/personalisation", json={"personalisation": False})
    assert turned.json() == {
        "object": "personalisation",
        "tenant": "acme",
        "personalisation": False,
        "off_for": ["tenant"],
    }
    # What the thread does twice a second.
    app.ingress._switch.look()
    reply = app.ask(SAID[-1:], user="ann")
    about = hydra(reply)
    assert (about["personalised"], about["arm"], about["method"], about["history"]) == (False, None, "hydra", [])
    # What the user says of the answer counts all the same.
    assert kept(app, reply).user == "ann"
    app.client.patch("/v1/admin/personalisation", json={"personalisation": True})
    app.ingress._switch.look()
    assert hydra(app.ask(SAID[-1:], user="ann"))["arm"] == "cheap"
    assert app.client.get("/v1/admin/personalisation").json()["off_for"] == []
    actions = [entry.action for entry in app.ingress._audit.entries()]
    assert actions == ["personalisation.off", "personalisation.on"]


def test_a_step_that_is_down_does_not_take_a_request_out_of_its_arm(app):
    app = app({"cheap": {"share": 1}})

    def fails(*_):
        raise StepError("down")

    app.adapter.answer = fails
    assert hydra(app.ask(SAID[-1:], user="ann"))["arm"] == "cheap"


def test_an_arm_of_an_unknown_method_is_named_before_anything_starts():
    tree = {"name": "x", "key_env": KEY, "arms": {"new": {"share": 1, "method": "hydrA"}}}
    with pytest.raises(HydraError, match=r"serve\.experiment\.arms\.new\.method: there is no 'hydrA'"):
        check_methods(parse_settings({"serve": {"experiment": tree}}))


def test_what_a_user_of_the_holdout_says_is_kept_as_anybodys(app):
    app = app(holdout=0.999999)
    reply = app.ask(SAID[-1:], user="ann")
    said = app.client.post("/v1/feedback", json={"id": reply.json()["id"], "verdict": "accepted"})
    assert said.status_code == 200, said.text
    one = kept(app, reply)
    assert (one.arm, one.statement.reaction) == ("spring/holdout", "accepted")


def test_an_arm_may_pass_through_and_what_has_to_be_is_told_apart_from_it(app):
    with serving() as llm:
        app = app({"raw": {"share": 0.999999, "method": "passthrough"}}, llm=llm)
        by_arm, by_form = app.ask(SAID[-1:], user="ann"), app.ask(SAID[-1:], user="ann", tools=TOOLS)
        assert hydra(by_arm)["reason"] == "method: passthrough is asked for"
        assert "tools: tools" in hydra(by_form)["reason"]
        for reply, why in ((by_arm, "method"), (by_form, "form")):
            about, one = hydra(reply), kept(app, reply)
            assert (about["method"], about["arm"], about["propensity"]) == ("passthrough", "raw", 0.999999)
            assert (one.arm, one.propensity, one.method, one.passed_for) == (
                "spring/raw",
                0.999999,
                "passthrough",
                why,
            )
            assert (one.user, one.candidates[0].text) == ("ann", "fine")


def test_what_is_passed_through_for_its_form_stays_in_its_arm(app):
    with serving() as llm:
        app = app({"cheap": {"share": 0.999999, "method": "rag"}}, llm=llm)
        reply = app.ask(SAID[-1:], user="ann", tools=TOOLS)
        one = kept(app, reply)
        assert (one.arm, one.method, one.passed_for) == ("spring/cheap", "passthrough", "form")
        assert kept(app, app.ask(SAID[-1:], user="ann", hydra={"method": "passthrough"})).arm is None
