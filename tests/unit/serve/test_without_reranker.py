"""What is served without a reranker, and what is refused where one is wanted."""

import pytest
from made_app import SAID

from hydra_ray.learn.promote.job import promote_version
from hydra_ray.models.base import Base
from hydra_ray.progress import SILENT
from hydra_ray.records import HydraError
from hydra_ray.runtime.models import catalog_of, publish
from hydra_ray.serve.app import build_app, check_methods
from hydra_ray.settings import parse_settings
from hydra_ray.store.aliases import PRODUCTION
from hydra_ray.tasks import TEXT_TASK

NONE_THERE = r"^method\.rerank: version {} has no reranker\. Train again with method\.rerank: true"


@pytest.fixture
def settings(tmp_path, scorer):
    """Settings with a reranker or without one, of a registry that holds a version of each sort."""

    def make(rerank):
        return parse_settings({"out": str(tmp_path), "method": {"rerank": rerank}})

    wanted = make(False)
    wanted.model_dir.mkdir(parents=True)
    Base("both", TEXT_TASK, scorer(seed=1), scorer(seed=2)).save(wanted.model_dir / "base")
    with catalog_of(wanted) as catalog:
        publish(catalog, Base("alone", TEXT_TASK, None, scorer(seed=2)), wanted, [], {})
    return make


def bound(settings):
    """What the ingress is bound to, by the names of its arguments' deployments."""
    ingress = build_app(settings)._bound_deployment
    return {one._bound_deployment.name for one in ingress.init_args if hasattr(one, "_bound_deployment")}


def test_nothing_of_a_reranker_is_asked_for(served):
    app = served()
    answer = app.ask(SAID[-1:], user="ann").json()
    assert (answer["hydra"]["method"], answer["hydra"]["degraded"]) == ("hydra", [])
    assert app.reranker.asked == app.reranker.ready.asked == []
    ready = app.client.get("/readyz").json()
    assert ready == {
        "status": "ready",
        "steps": dict.fromkeys(("store", "retriever", "adapter", "generator"), "answers"),
    }


def test_a_request_for_the_reranker_alone_is_refused(served):
    reply = served().ask(SAID, hydra={"method": "hydra-reranker"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "hydra.method: there is no reranker here (method.rerank)"
    assert served(more={"method": {"rerank": True}}).ask(SAID, hydra={"method": "hydra-reranker"}).status_code == 200


def test_settings_that_name_the_reranker_alone_are_refused_without_one():
    named = {"serve": {"method": "hydra-reranker"}, "tenants": {"acme": {"method": "hydra-reranker"}}}
    message = (
        r"^serve\.method: hydra-reranker; tenants\.acme\.method: hydra-reranker needs a reranker: set method\.rerank"
    )
    with pytest.raises(HydraError, match=message):
        check_methods(parse_settings(named))
    check_methods(parse_settings({**named, "method": {"rerank": True}}))


@pytest.mark.parametrize("rerank", [False, True])
def test_the_application_has_a_reranker_where_settings_want_one(settings, rerank, caplog):
    assert ("Reranker" in bound(settings(rerank))) is rerank
    assert {"Retriever", "Generator", "Adapter", "Profiler"} <= bound(settings(rerank))
    assert ("version both has a reranker, which is not used (method.rerank is false)" in caplog.text) is not rerank


def test_a_version_without_a_reranker_is_not_served_where_one_is_wanted(settings):
    from hydra_ray.serve.reranker import Reranker

    with catalog_of(settings(True)) as catalog:
        catalog.aliases.change(PRODUCTION, "alone", catalog.aliases.revision(PRODUCTION), "promote")
    with pytest.raises(HydraError, match=NONE_THERE.format("alone")):
        build_app(settings(True))
    assert "Adapter" in bound(settings(False))
    # A replica goes on with the version before, and says of this one why it does not take it up.
    replica = Reranker.func_or_class(settings(True))
    assert replica._versions.production == "both"
    with pytest.raises(HydraError, match=NONE_THERE.format("alone")):
        replica._versions.get("alone")
    replica.__del__()


def test_a_version_without_a_reranker_is_not_promoted_where_one_is_wanted(settings):
    with pytest.raises(HydraError, match=NONE_THERE.format("alone")):
        promote_version(settings(True), "alone", SILENT, fit=False)
    assert promote_version(settings(False), "alone", SILENT, fit=False).version == "alone"
