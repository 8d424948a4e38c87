"""Steps in this process: what a query may see, of its user and of others."""

import pytest
from defaults import local_steps, recipe

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.evaluate.runner.answer import _fingerprint_of
from hydra_ray.methods.ports import StepError
from hydra_ray.models.base import Base
from hydra_ray.records import HydraError, Ranked, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.steps.profiles.peers import PeerPool

ANN, BOB, CAT = (UserKey("acme", name) for name in ("ann", "bob", "cat"))


@pytest.fixture
def people(item):
    """Ann may see a part of her history; Bob and Cat have told more."""
    return {
        ANN: [item("robots", "great", ts="2019"), item("kings", "dull", ts="2021")],
        BOB: [item("robots sing", "great", ts="2019"), item("robots dance", "great", ts="2021")],
        CAT: [item("kings sing", "dull", ts="2019")],
    }


@pytest.fixture
def steps(people, query, word_vectors):
    """Makes steps and ports over the three."""

    def make(pool, **more):
        users = tuple(User(key, tuple(history)) for key, history in people.items())
        dataset = Dataset(users, visible={"robots": frozenset({"robots"})})
        return local_steps(dataset, peers=pool, **more).ports(None)

    return make


async def test_peers_are_like_what_the_query_may_see_and_spoke_before_it(steps, people, query, word_vectors):
    ports = steps(PeerPool(people, word_vectors, ["acme"]), similar_users=1)
    ranked = await ports.peers(query("robots", ts="2020"), 5)
    assert [one.item.input for one in ranked] == ["robots sing"]


@pytest.mark.parametrize(("name", "wanted"), [("robots", []), ("whole", ["robots sing"])])
async def test_a_query_without_a_date_sees_of_peers_what_is_older_than_its_users_newest_item(
    steps, people, query, word_vectors, name, wanted
):
    ports = steps(PeerPool(people, word_vectors, ["acme"]), similar_users=1)
    # The newest that may be seen is of 2019, or of 2021: as old as a text of Bob's, which does not count.
    ranked = await ports.peers(query("robots", id=name), 5)
    assert [one.item.input for one in ranked] == wanted


async def test_more_similar_users_may_be_looked_at(steps, people, query, word_vectors):
    ports = steps(PeerPool(people, word_vectors, ["acme"]), similar_users=2)
    ranked = await ports.peers(query("robots", ts="2020"), 5)
    assert [one.item.input for one in ranked] == ["robots sing", "kings sing"]


async def test_a_tenant_that_did_not_opt_in_has_none(steps, people, query, word_vectors):
    assert await steps(PeerPool(people, word_vectors, [])).peers(query("robots"), 5) == []


async def test_without_a_pool_the_step_fails(steps, query):
    with pytest.raises(StepError):
        await steps(None).peers(query("robots"), 5)


async def test_a_method_that_judges_without_saying_so_is_told_how(steps, query):
    ports = steps(None)
    for judging in (ports.rerank(query("robots"), [], None), ports.adapt(query("robots"), [], [], None)):
        with pytest.raises(HydraError, match="its class needs `needs_base = True`"):
            await judging


async def test_own_history_is_found_by_the_stems_of_the_language_that_is_set(query, item):
    history = (item("die Häuser am See"), item("der Hund"))
    dataset = Dataset((User(ANN, history),))
    asked = query("Hauses")
    found = {
        stemmer: await local_steps(dataset, recipe=recipe(stemmer=stemmer)).retrieve(asked, 1, "bm25")
        for stemmer in (None, "german")
    }
    assert [found[stemmer][0].item.input for stemmer in (None, "german")] == ["der Hund", "die Häuser am See"]


def test_runs_that_were_ranked_by_whole_words_in_spite_of_a_stemmer_are_made_anew(monkeypatch):
    monkeypatch.setattr("hydra_ray.evaluate.runner.answer.fingerprint", lambda parts: parts)
    plain, stemmed = (
        _fingerprint_of(parse_settings({"method": {"stemmer": stemmer}}), "rag", Dataset(()), None, None)
        for stemmer in (None, "german")
    )
    assert len(plain) == 3, "runs of earlier versions stay what they are"
    assert stemmed[3:] == ["stemmed"]


@pytest.mark.parametrize("roles", [1, 2])
async def test_there_is_a_reranker_where_the_recipe_has_one_and_the_base_too(query, item, scorer, tag_task, roles):
    dataset = Dataset((User(ANN, (item("robots"),)),))
    base = Base("v1", tag_task, scorer(seed=1) if roles == 2 else None, scorer(seed=2))
    asked, ranked = query("robots"), [Ranked(item("robots", "great"), 0.0)]
    without = local_steps(dataset, base=base)
    with pytest.raises(StepError, match=r"there is no reranker \(method\.rerank is false\)"):
        await without.rerank(asked, ranked, None)
    if roles == 2:
        (one,) = await local_steps(dataset, base=base, recipe=recipe(rerank=True)).rerank(asked, ranked, None)
        assert one.item == ranked[0].item
        return
    with pytest.raises(HydraError, match="version v1 has no reranker"):
        local_steps(dataset, base=base, recipe=recipe(rerank=True))
