"""Users who arrive, teach and leave while it serves, over HTTP."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import quote

import httpx
import pytest
from defaults import simulate
from openai import OpenAI
from torch.testing import assert_close

from hydra_ray.data.simulated import labels_in
from hydra_ray.demo import ask
from hydra_ray.models.base import ADAPTER
from hydra_ray.models.heads import Head
from hydra_ray.records import UserKey
from hydra_ray.rights.document import export_user, import_user
from hydra_ray.runtime.models import chosen_manifest
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store

PATIENCE_S = 120
# What breaks naive paths: a slash, a sub-path, an escape, other scripts.
STRANGE = "équipe/history/王 100%2F?#"


@pytest.fixture(scope="module")
def store(demo_results, settings: Settings) -> Iterator[Store]:
    store = open_store(settings.store_target)
    yield store
    store.close()


@pytest.fixture(scope="module")
def people(settings: Settings):
    data = settings.data
    dataset, _ = simulate(
        users=data.dev_users, history=data.history, queries=data.queries, seed=settings.seed, split="dev"
    )
    return dataset.users


@pytest.fixture
def version(settings: Settings) -> str:
    return chosen_manifest(settings).version


@pytest.fixture(scope="module")
def films(people) -> list[str]:
    return [user.queries[0].input for user in people[:12]]


class Person:
    """One user, as a client sees them."""

    def __init__(self, url: str, client: OpenAI, name: str) -> None:
        self._client, self.name = client, name
        self.url = f"{url}/users/{quote(name, safe='')}"

    def ask(self, text: str) -> dict:
        return ask(self._client, "hydra", text, self.name)["hydra"]

    def ask_until_several(self, films: list[str]) -> tuple[str, dict]:
        """The first of the films that the LLM has several answers about, and what came of it."""
        answers = ((text, self.ask(text)) for text in films)
        return next((text, hydra) for text, hydra in answers if len(hydra["candidates"]) > 1)

    def tell(self, **body) -> dict:
        reply = httpx.post(f"{self.url}/feedback", json=body, timeout=30)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def history(self) -> list[dict]:
        return httpx.get(f"{self.url}/history").json()["data"]

    def forget(self, item: str) -> httpx.Response:
        return httpx.delete(f"{self.url}/history/{quote(item, safe='')}", timeout=30)

    def leave(self) -> httpx.Response:
        return httpx.delete(self.url)


@pytest.fixture
def person(url: str, client: OpenAI):
    """Makes users; newcomers leave at the end."""
    newcomers = []

    def make(name: str, newcomer: bool = True) -> Person:
        one = Person(url, client, name)
        newcomers.extend([one] * newcomer)
        return one

    yield make
    for one in newcomers:
        one.leave()


def logits(hydra: dict) -> dict[str, float]:
    return {candidate["text"]: candidate["logit"] for candidate in hydra["candidates"]}


def lead(hydra: dict, text: str, among: set[str]) -> float:
    """By how much a candidate is preferred to the mean of the others."""
    found = logits(hydra)
    others = [found[other] for other in among - {text}]
    return found[text] - sum(others) / len(others)


def offered(hydra: dict) -> list[str]:
    return [candidate["text"] for candidate in hydra["candidates"]]


def test_a_user_fitted_while_it_serves_is_personal_at_the_next_request(person, store, settings, version, people):
    known, newcomer = person(people[0].key.user, newcomer=False), person(STRANGE)
    key, text = UserKey(settings.tenant, STRANGE), people[0].queries[0].input
    store.put_histories({key: [replace(item, id=f"new-{item.id}") for item in people[0].history]})
    before = newcomer.ask(text)
    assert (before["head"], before["degraded"]) == ("shared", [])
    store.put_heads(version, ADAPTER, {key: store.head(people[0].key, version, ADAPTER)})
    after = newcomer.ask(text)
    assert after["head"] == "user"
    theirs = logits(known.ask(text))
    assert {name: logit for name, logit in logits(after).items() if name in theirs} == pytest.approx(
        {name: logit for name, logit in theirs.items() if name in logits(after)}, abs=0.05
    )


def test_a_head_that_is_refitted_or_deleted_counts_at_the_next_request(person, store, settings, version, people):
    newcomer, key, text = person("refitted"), UserKey(settings.tenant, "refitted"), people[0].queries[0].input
    store.put_histories({key: people[0].history})
    shared = logits(newcomer.ask(text))
    head = store.head(people[0].key, version, ADAPTER)
    store.put_heads(version, ADAPTER, {key: head})
    once = logits(newcomer.ask(text))
    doubled = Head(head.kind, {**head.tensors, "out": 2 * head.tensors["out"]}, head.about)
    store.put_heads(version, ADAPTER, {key: doubled})
    twice = logits(newcomer.ask(text))
    deltas = {name: once[name] - shared[name] for name in shared}
    assert max(map(abs, deltas.values())) > 0.2, "else the next line says nothing"
    assert {name: twice[name] - shared[name] for name in shared} == pytest.approx(
        {name: 2 * delta for name, delta in deltas.items()}, abs=0.05
    )
    store.put_heads(version, ADAPTER, {key: None})
    gone = newcomer.ask(text)
    assert (gone["head"], logits(gone)) == ("shared", shared)


@pytest.mark.parametrize("name", ["ann", STRANGE])
def test_the_first_feedback_makes_an_unknown_user_personal(person, store, settings, version, films, name):
    user = person(name)
    text, before = user.ask_until_several(films)
    assert (before["head"], before["history"]) == ("shared", [])
    accepted = offered(before)[-1]
    told = user.tell(input=text, candidates=offered(before), accepted=accepted, id="first/1", ts="2026-05-01")
    assert told == {
        "id": "first/1",
        "object": "feedback",
        "history": True,
        "learnt": True,
        "head": "created",
        "note": "",
    }
    assert [(item["id"], item["input"], item["output"], item["ts"]) for item in user.history()] == [
        ("first/1", text, accepted, "2026-05-01")
    ]
    after = user.ask(text)
    assert after["head"] == "user"
    assert [item["id"] for item in after["history"]] == ["first/1"], "the retriever sees it"
    both = set(offered(before)) & set(offered(after))
    assert lead(after, accepted, both) > lead(before, accepted, both)
    # The same history under the shared head: the user's own moves the scores too.
    store.put_heads(version, ADAPTER, {UserKey(settings.tenant, name): None})
    shared = user.ask(text)
    assert (shared["head"], set(offered(shared))) == ("shared", set(offered(after)))
    assert lead(after, accepted, both) > lead(shared, accepted, both)


def test_a_rejected_candidate_falls_and_an_edited_one_rises(person, films):
    user, other = person("rejects"), person("edits")
    text, before = user.ask_until_several(films)
    told = user.tell(input=text, candidates=offered(before), rejected=offered(before)[0])
    assert (told["history"], told["head"], user.history()) == (False, "created", [])
    all_of_them = set(offered(before))
    assert lead(user.ask(text), offered(before)[0], all_of_them) < lead(before, offered(before)[0], all_of_them)
    text, before = other.ask_until_several(films)
    wanted = offered(before)[-1]
    assert other.tell(input=text, edited=wanted.upper())["head"] == "created"
    assert [item["output"] for item in other.history()] == [wanted]
    after = other.ask(text)
    both = set(offered(before)) & set(offered(after))
    assert lead(after, wanted, both) > lead(before, wanted, both)


def test_deleting_an_item_gives_exactly_the_answers_from_before(person, films):
    user = person("changes their mind")
    first = user.tell(input=films[1], candidates=labels_in(films[1]), accepted=labels_in(films[1])[0])
    before = user.ask(films[0])
    second = user.tell(input=films[0], candidates=offered(before), accepted=offered(before)[-1])
    assert second["head"] == "updated"
    between = user.ask(films[0])
    assert between["candidates"] != before["candidates"]
    reply = user.forget(second["id"])
    assert reply.json() == {
        "id": second["id"],
        "object": "history.item",
        "deleted": True,
        "heads": {"adapter": "updated"},
    }
    assert user.ask(films[0]) == before
    assert user.forget(first["id"]).json()["heads"]["adapter"] == "removed"
    assert user.ask(films[0])["head"] == "shared"
    gone = user.forget(first["id"])
    assert (gone.status_code, gone.json()["error"]["message"]) == (404, f"item: this user has no '{first['id']}'")


def test_deleting_a_user_leaves_all_others_as_they_were(person, films):
    leaving, namesake, other = person("team/bob"), person("team"), person("bob")
    text = films[0]
    blank = leaving.ask(text)
    for user in (leaving, namesake, other):
        user.tell(input=text, candidates=labels_in(text), accepted=labels_in(text)[0], id="1")
    before = [(user.ask(text), user.history()) for user in (namesake, other)]
    assert [leaving.leave().status_code for _ in range(2)] == [200, 200]
    assert leaving.history() == []
    assert leaving.ask(text) == blank
    assert [(user.ask(text), user.history()) for user in (namesake, other)] == before


def test_who_is_exported_deleted_and_imported_is_answered_as_before(person, store, settings, films):
    user, text, key = person("mover"), films[0], UserKey(settings.tenant, "mover")
    user.tell(input=text, candidates=labels_in(text), accepted=labels_in(text)[0], id="1")
    known, before, document = httpx.get(user.url).json(), user.ask(text), export_user(store, key, others=True)
    assert (before["head"], known["counts"]["history"], known["teaches_most"][0]["id"]) == ("user", 1, "1")
    deleted = user.leave().json()
    assert (deleted["deleted"], deleted["counts"]["history"]) == (True, 1)
    assert user.ask(text)["head"] == "shared"
    import_user(store, document)
    assert user.ask(text) == before


def test_who_switches_personalisation_off_is_answered_as_nobody_at_the_next_request(person, client, films):
    user, other, text = person("private"), person("open"), films[0]
    said = [{"role": "user", "content": text}]
    nobodys = client.chat.completions.create(model="hydra", messages=said).model_dump()["hydra"]
    for one in (user, other):
        one.tell(input=text, candidates=labels_in(text), accepted=labels_in(text)[0], id="1")
    own, others = user.ask(text), other.ask(text)
    assert (own["personalised"], own["head"]) == (True, "user")
    assert httpx.patch(user.url, json={"personalisation": False}).status_code == 200
    assert user.ask(text) == {**nobodys, "user": "private"}
    assert httpx.post(f"{user.url}/feedback", json={"input": text, "accepted": labels_in(text)[0]}).status_code == 409
    assert other.ask(text) == others
    assert httpx.patch(user.url, json={"personalisation": True}).status_code == 200
    assert user.ask(text) == own


def test_two_users_who_teach_at_the_same_time_stay_apart(person, store, settings, version, films):
    def teach(user: Person, place: int) -> None:
        for number, text in enumerate(films[:4]):
            labels = labels_in(text)
            user.tell(input=text, candidates=labels, accepted=labels[place], id=str(number))

    together = [person("first"), person("last")]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(teach, together, (0, -1)))
    alone = [person("first, alone"), person("last, alone")]
    for user, place in zip(alone, (0, -1), strict=True):
        teach(user, place)
    for one, other in zip(together, alone, strict=True):
        assert one.history() == other.history()
        heads = [store.head(UserKey(settings.tenant, user.name), version, ADAPTER) for user in (one, other)]
        assert_close(heads[0].tensors, heads[1].tensors, rtol=1e-4, atol=1e-4)
    assert together[0].history() != together[1].history()


def test_a_head_of_another_kind_waits_for_the_next_fit(person, people, store, version):
    known, text = person(people[3].key.user, newcomer=False), people[3].queries[0].input
    before = known.ask(text)
    votes = [candidate["votes"] for candidate in before["candidates"]]
    about = {"completion_id": "chatcmpl-1", "method": before["method"], "propensity": 0.5}
    told = known.tell(input=text, candidates=offered(before), votes=votes, accepted=offered(before)[-1], **about)
    assert (told["head"], told["learnt"], "lowrank" in told["note"]) == ("at_next_fit", False, True)
    (event,) = store.feedback_events([people[3].key])[people[3].key]
    assert (event.said, event.text, event.candidates) == ("accepted", offered(before)[-1], tuple(offered(before)))
    assert (event.votes, event.completion_id, event.version) == (tuple(votes), "chatcmpl-1", version)
    assert set(event.history) <= {item["id"] for item in known.history()}
    assert known.history()[-1]["id"] == told["id"]
    assert known.forget(told["id"]).json()["heads"] == {ADAPTER: "at_next_fit"}
    assert store.feedback_events([people[3].key]) == {}
    assert known.ask(text) == before


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, ["input: Field required", "rejected: exactly one of accepted, edited and rejected is wanted, not none"]),
        ({"input": "a film", "accepted": "funny", "edited": "sad"}, ["not accepted and edited"]),
        ({"input": " ", "candidates": ["sad", 3], "acepted": "sad"}, ["input: ", "candidates[1]: ", "acepted: "]),
        ({"input": "a film", "accepted": "a thriller"}, ["accepted: 'a thriller' is not among the allowed answers"]),
    ],
)
def test_wrong_bodies_are_told_all_that_is_wrong(person, body, told):
    user = person("sends nonsense")
    reply = httpx.post(f"{user.url}/feedback", json=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    code = None if body else "missing_required_parameter"
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert error["param"] in ("input", "rejected", "accepted", "candidates[1]")
    assert all(part in error["message"] for part in told), error["message"]
    assert user.history() == []


def test_what_is_no_json_is_refused(person):
    assert httpx.post(f"{person('sends nonsense').url}/feedback", content="{").status_code == 400
