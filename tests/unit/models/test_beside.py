import math

from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.models.beside import beside_numbers, names_beside, sources_beside
from hydra_ray.models.lexical import log_share
from hydra_ray.records import Source

prompts = st.sampled_from(["zero-shot", "bm25", "recent"])
said = st.lists(st.builds(Source, prompts, st.integers(1, 8), st.booleans()), max_size=3, unique_by=lambda s: s.prompt)


def test_each_prompt_tells_its_share_of_votes_and_its_greedy_answer():
    contest = [
        (Source("zero-shot", 3, greedy=True), Source("bm25", 1, greedy=False)),
        (Source("bm25", 3, greedy=True),),
        (),
    ]
    first, second, third = sources_beside(contest)
    assert first == {
        "votes:zero-shot": 0.0,
        "greedy:zero-shot": 1.0,
        "votes:bm25": math.log(1.1 / 4.1),
        "greedy:bm25": 0.0,
    }
    assert (second["votes:zero-shot"], second["greedy:bm25"]) == (math.log(0.1 / 3.1), 1.0)
    assert third == {
        "votes:zero-shot": log_share(0, 3),
        "greedy:zero-shot": 0.0,
        "votes:bm25": log_share(0, 4),
        "greedy:bm25": 0.0,
    }


def test_where_no_llm_was_asked_nothing_is_known():
    assert sources_beside([(), ()]) == sources_beside([]) == ()


@given(contest=st.lists(said, min_size=1, max_size=5))
def test_all_candidates_of_a_contest_are_told_of_by_the_same_names(contest):
    found = sources_beside(contest)
    asked = {source.prompt for sources in contest for source in sources}
    assert all(set(one) == {f"{what}:{prompt}" for what in ("votes", "greedy") for prompt in asked} for one in found)
    for prompt in asked:
        votes = [one[f"votes:{prompt}"] for one in found]
        given = [sum(s.votes for s in sources if s.prompt == prompt) for sources in contest]
        assert sorted(range(len(votes)), key=lambda place: (votes[place], place)) == sorted(
            range(len(given)), key=lambda place: (given[place], place)
        )


def test_numbers_stand_in_the_order_of_names_and_what_is_not_known_is_zero():
    contests = [({"b": 1.0}, {"a": 2.0, "b": 3.0}), (), ({"c": 4.0},)]
    names = names_beside(contests)
    assert names == ("a", "b", "c")
    assert beside_numbers([{"b": 1.0, "unheard": 9.0}, {}], names) == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert beside_numbers([{"b": 1.0}], ()) == [[]]
