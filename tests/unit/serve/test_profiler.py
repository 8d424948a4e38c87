"""The hosted writer of profiles: what is stored is given at once, what is missing is written once."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import numpy as np
import pytest

from hydra_ray.methods.ports import ProfileText, StepError
from hydra_ray.records import Generation, Query, Usage, UserKey
from hydra_ray.serve import profiler as hosted
from hydra_ray.serve.observe.metrics import Metrics
from hydra_ray.serve.observe.names import DIFFERENCES, PROFILES
from hydra_ray.settings import TenantSettings, parse_settings
from hydra_ray.steps.generate import GenerateError
from hydra_ray.store.backends import open_store

ANN, BOB = UserKey("default", "ann"), UserKey("default", "bob")
REQUEST = ContextVar("what belongs to the request", default="nothing")


class Handle:
    """A generator's handle: answers when it is let, by what it is asked."""

    def __init__(self):
        self.go = asyncio.Event()
        self.go.set()
        self.asked, self.tenants, self.contexts, self.error = [], [], [], None

    async def remote(self, request, tenant):
        self.asked.append(request.messages[0].content)
        self.tenants.append(tenant)
        self.contexts.append(REQUEST.get())
        await self.go.wait()
        if self.error:
            raise self.error
        difference = json.dumps({"writing": "short", "emotional": "calm", "semantic": "plain"})
        text = difference if "The others:" in self.asked[-1] else f"profile {len(self.asked)}"
        return Generation((text,), Usage(1))


@pytest.fixture
def settings(tmp_path):
    return parse_settings({"out": str(tmp_path), "store": {"url": f"sqlite:///{tmp_path / 'users.db'}"}})


@pytest.fixture
def store(settings, item):
    store = open_store(settings.store_target)
    store.put_histories({ANN: [item("a robot", "sci-fi")]})
    yield store
    store.close()


@pytest.fixture
def opted_in(settings, monkeypatch):
    """The same settings with peers, for whom all texts are alike."""

    def embed(texts):
        return np.stack([np.array([1.0, 0.0], np.float32) for _ in texts])

    monkeypatch.setattr(hosted, "make_embedder", lambda settings: embed)
    monkeypatch.setattr("hydra_ray.runtime.factory.make_embedder", lambda settings: embed)
    return settings.model_copy(update={"peers": settings.peers.model_copy(update={"tenants": ("default",)})})


def make(task, settings, handle):
    return hosted.Profiler.func_or_class(task, settings, handle)


def ask(user=ANN):
    return Query("q", user, "a dog")


async def test_of_nobody_there_is_no_profile(tag_task, settings, store, item):
    nobody = UserKey("default", "")
    store.put_histories({nobody: [item("a robot", "sci-fi")]})
    handle = Handle()
    assert await make(tag_task, settings, handle)(ask(nobody), "pag") == ProfileText()
    assert handle.asked == []


async def test_a_missing_profile_is_written_once_and_kept(tag_task, settings, store):
    handle = Handle()
    profiler = make(tag_task, settings, handle)
    assert await asyncio.gather(*(profiler(ask(), "pag") for _ in range(3))) == [ProfileText("profile 1")] * 3
    assert store.profile(ANN, "pag").text == "profile 1"
    assert await make(tag_task, settings, handle)(ask(), "pag") == ProfileText("profile 1")
    assert len(handle.asked) == 1


async def test_a_profile_is_written_anew_when_history_grew_or_settings_changed(tag_task, settings, store, item):
    handle = Handle()
    profiler = make(tag_task, settings, handle)
    await profiler(ask(), "pag")
    for number in range(settings.profile.refresh_items):
        assert (await profiler(ask(), "pag")).text == "profile 1"
        store.append_history(ANN, item(f"film {number}"))
    assert (await profiler(ask(), "pag")).text == "profile 2"
    changed = settings.model_copy(update={"profile": settings.profile.model_copy(update={"items": 3})})
    assert (await make(tag_task, changed, handle)(ask(), "pag")).text == "profile 3"


async def test_who_cannot_wait_goes_without_and_the_next_request_has_it(tag_task, settings, store):
    handle = Handle()
    profiler = make(tag_task, settings, handle)
    handle.go.clear()
    REQUEST.set("the first request")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(profiler(ask(), "pag"), 0.05)
    handle.go.set()
    assert (await profiler(ask(), "pag")).text == "profile 1"
    assert len(handle.asked) == 1
    # Else Serve would stop it with the request.
    assert handle.contexts == ["nothing"]


async def test_after_a_failure_the_llm_is_left_alone_for_a_while(tag_task, settings, store, monkeypatch):
    loop, later = asyncio.get_running_loop(), []
    call_later = loop.call_later

    def note(delay, *told):
        return later.append(told) if delay == hosted._RETRY_S else call_later(delay, *told)

    monkeypatch.setattr(loop, "call_later", note)
    handle = Handle()
    handle.error = GenerateError("busy", "busy", transient=True)
    profiler = make(tag_task, settings, handle)
    for _ in range(3):
        with pytest.raises(GenerateError, match="busy"):
            await profiler(ask(), "pag")
    assert len(handle.asked) == 1
    handle.error = None
    ((forget, *what),) = later
    forget(*what)
    assert (await profiler(ask(), "pag")).text == "profile 2"


async def test_a_user_without_history_has_no_profile_and_costs_nothing(tag_task, settings, store):
    handle = Handle()
    assert await make(tag_task, settings, handle)(ask(BOB), "dpl") == ProfileText()
    assert handle.asked == []


async def test_an_unknown_kind_is_a_step_that_fails(tag_task, settings, store):
    with pytest.raises(StepError, match="no kind of profile 'gap'"):
        await make(tag_task, settings, Handle())(ask(), "gap")


async def test_peers_are_read_as_they_stand_in_the_store_and_only_where_the_tenant_opted_in(
    tag_task, settings, opted_in, store, item
):
    store.put_histories({ANN: [item("a robot", "sci-fi", item_id="f1"), item("a king", "drama", item_id="f2")]})
    store.put_histories({BOB: [item("a robot", "silly", item_id="f1"), item("a king", "boring", item_id="f2")]})
    handle = Handle()
    alone = make(tag_task, settings, handle)
    # Whether it is written or stored already.
    assert [(await alone(ask(), "dpl")).degraded for _ in range(2)] == [True, True]

    profiler = make(tag_task, opted_in, handle)
    assert not (await profiler(ask(), "dpl")).degraded
    assert store.profile(ANN, "dpl").peers == (BOB,)
    assert any("Answer: silly" in asked for asked in handle.asked)

    # The pool was made before Bob took one back.
    store.delete_item(BOB, "a robot")
    assert store.profile(ANN, "dpl") is None
    before = len(handle.asked)
    await profiler(ask(), "dpl")
    new = "".join(handle.asked[before:])
    assert "boring" in new
    assert "silly" not in new


async def test_a_profile_with_somebody_deleted_meanwhile_is_neither_given_nor_kept(tag_task, settings, store):
    handle = Handle()
    profiler = make(tag_task, settings, handle)
    handle.go.clear()
    asking = asyncio.create_task(profiler(ask(), "pag"))
    while not handle.asked:
        await asyncio.sleep(0.01)
    store.delete(ANN)
    handle.go.set()
    with pytest.raises(StepError, match="deleted while it was written"):
        await asking
    assert store.profile(ANN, "pag") is None
    assert await profiler(ask(), "pag") == ProfileText()


async def test_more_first_requests_than_threads_do_not_wait_for_one_another(tag_task, opted_in, store, item):
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    users = [UserKey("default", f"user {number}") for number in range(5)]
    store.put_histories({user: [item("a robot", user.user, item_id="f1")] for user in users})
    profiler = make(tag_task, opted_in, Handle())
    # Each waits for the pool of peers, which has to be made in a thread too.
    asked = asyncio.gather(*(profiler(ask(user), "dpl") for user in users))
    written = await asyncio.wait_for(asked, timeout=30)
    assert not any(profile.degraded for profile in written)


async def test_each_tenant_says_whether_its_users_tell_of_each_other(tag_task, opted_in, store, item):
    """The deployment's own tenant opted in; of the others one did, one did not, and nobody reads another's texts."""
    others = {"open": TenantSettings(share_with_peers=True), "closed": TenantSettings()}
    settings, handle = opted_in.model_copy(update={"tenants": others}), Handle()
    for tenant in ("default", *others):
        for user in ("ann", "bob"):
            store.put_histories({UserKey(tenant, user): [item(f"film of {tenant}", f"said in {tenant}")]})
    profiler = make(tag_task, settings, handle)
    for tenant in ("default", *others):
        begin = len(handle.asked)
        await profiler(ask(UserKey(tenant, "ann")), "dpl")
        prompts = handle.asked[begin:]
        assert set(handle.tenants[begin:]) == {tenant}
        assert any("The others:" in prompt for prompt in prompts) == (tenant != "closed")
        assert not any(f"of {other}" in prompt for prompt in prompts for other in {"default", *others} - {tenant})


async def test_profiles_and_what_could_be_read_for_them_are_counted(tag_task, opted_in, store, item, monkeypatch):
    store.put_histories({BOB: [item("a robot", "silly")]})
    noted = []
    monkeypatch.setattr(Metrics, "note", lambda self, metric, value=1.0, **labels: noted.append((metric, labels)))
    profiler = make(tag_task, opted_in, Handle())
    for kind in ("dpl", "dpl", "pag"):
        await profiler(ask(), kind)
    assert [labels for metric, labels in noted if metric is DIFFERENCES] == [{"read": "at_once"}]
    assert [labels for metric, labels in noted if metric is PROFILES] == [
        {"kind": "dpl", "differences": "yes"},
        {"kind": "pag", "differences": "no"},
    ]
    alone = make(
        tag_task, opted_in.model_copy(update={"peers": opted_in.peers.model_copy(update={"tenants": ()})}), Handle()
    )
    await alone(ask(BOB), "dpl")
    assert noted[-1] == (PROFILES, {"kind": "dpl", "differences": "no"})
