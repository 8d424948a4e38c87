"""Profiles of an evaluation: each written once, from what its query may see."""

import asyncio

import pytest
from defaults import local_steps, profile_rules

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.evaluate.runner.profiles import ProfileBook
from hydra_ray.methods.ports import ProfileText, StepError
from hydra_ray.records import UserKey
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.profiles.profile import ProfileTools
from hydra_ray.steps.profiles.writer import ProfileWriter
from hydra_ray.store.backends import open_store

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")


@pytest.fixture
def dataset(item, query):
    """Ann has two queries, the first of which sees one of her items only; Bob has nothing."""
    history = (item("a robot", "sci-fi", ts="2001"), item("a king", "drama", ts="2002"))
    queries = tuple(query(text, ts=ts) for text, ts in (("early", "2002"), ("late", "2009"), ("later", "2010")))
    bobs = User(BOB, (), (query("his", user="bob"),))
    return Dataset((User(ANN, history, queries), bobs), visible={"early": frozenset({"a robot"})})


@pytest.fixture
def llm(scripted):
    return scripted(lambda request: [f"sees {request.messages[0].content.count('Answer: ')}"])


def writer(llm, task):
    return ProfileWriter(ProfileTools(llm, profile_rules(task)))


def steps(dataset, llm, task, stored=None):
    return local_steps(dataset, profiles=ProfileBook(writer(llm, task), stored))


async def test_a_profile_is_written_once_for_each_history_that_queries_see(dataset, llm, tag_task):
    port = steps(dataset, llm, tag_task).ports(llm).profile
    early, late, later = dataset.users[0].queries
    told = await asyncio.gather(*(port(one, "pag") for one in (early, late, later, late)))
    assert told == [ProfileText(f"sees {count}") for count in (1, 2, 2, 2)]
    assert await port(later, "pag") == ProfileText("sees 2")
    assert len(llm.requests) == 2
    # Nobody opted in, so there is nobody to differ from.
    assert await port(later, "dpl") == ProfileText("sees 2", degraded=True)
    assert len(llm.requests) == 3


async def test_a_user_without_history_has_no_profile_and_costs_nothing(dataset, llm, tag_task):
    assert await steps(dataset, llm, tag_task).profile(dataset.users[1].queries[0], "dpl") == ProfileText()
    assert llm.requests == []


@pytest.mark.parametrize(("kind", "error"), [("refused", StepError), ("busy", GenerateError), ("key", GenerateError)])
async def test_a_refusal_is_done_without_and_other_failures_leave_the_query_unfinished(
    dataset, scripted, tag_task, kind, error
):
    def down_at_first(request):
        if len(llm.requests) == 1:
            raise GenerateError("no luck", kind)
        return ["a profile"]

    llm = scripted(down_at_first)
    local = steps(dataset, llm, tag_task)
    with pytest.raises(error, match="no luck"):
        await local.profile(dataset.users[0].queries[1], "pag")
    if error is StepError:
        with pytest.raises(StepError):
            await local.profile(dataset.users[0].queries[1], "pag")
        assert len(llm.requests) == 1, "it would be refused again"
    else:
        assert (await local.profile(dataset.users[0].queries[1], "pag")).text == "a profile"


async def test_a_stored_profile_is_taken_only_if_it_was_made_of_what_the_query_sees(dataset, llm, tag_task, tmp_path):
    store = open_store(f"sqlite:///{tmp_path / 'users.db'}")
    store.put_histories({ANN: dataset.users[0].history})
    whole = await writer(llm, tag_task)("pag", ANN, dataset.users[0].history)
    store.put_profiles([(ANN, whole)])
    local, before = steps(dataset, llm, tag_task, store), len(llm.requests)
    early, late, _ = dataset.users[0].queries
    assert (await local.profile(late, "pag")).text == whole.text
    assert len(llm.requests) == before
    assert (await local.profile(early, "pag")).text == "sees 1"
    store.close()


async def test_without_a_book_methods_go_on_without(dataset, llm):
    ports = local_steps(dataset).ports(llm)
    with pytest.raises(StepError, match="nobody plugged"):
        await ports.profile(dataset.users[0].queries[0], "pag")
