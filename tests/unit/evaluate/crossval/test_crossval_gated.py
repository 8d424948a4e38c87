"""The gate of a cross-validation: fitted on other folds, it gives plain answers where the choice was worse there."""

from dataclasses import replace

from hydra_ray.evaluate.crossval.gated import gated_answers
from hydra_ray.evaluate.crossval.material import Contest
from hydra_ray.evaluate.crossval.validate import HeldOutAnswer
from hydra_ray.learn.collect.plan import Example
from hydra_ray.records import Candidate, Query, Source, UserKey
from hydra_ray.settings import GateSettings
from hydra_ray.steps.adapt import AdaptRequest

USERS, QUERIES, FOLDS = 40, 6, 4
WANTED = GateSettings(least_users=20)


def held_out(user, place, repeat=0, gold=None):
    """The adapter chooses "comedy" over the LLM's "drama": rightly where the user's past says so, at even places."""
    key, right = UserKey("acme", f"u{user:02}"), place % 2 == 0
    query = Query(f"{key.user}-{place}", key, f"film {place} of {user}")
    history = ("comedy",) * 4 if right else ("sci-fi",) * 4
    said = (
        Candidate("drama", 6, 0, sources=(Source("nearest", 6, greedy=True),)),
        Candidate("comedy", 2, 1, sources=(Source("nearest", 2, greedy=False),)),
    )
    example = Example(query, gold or ("comedy" if right else "drama"), (), pseudo=False)
    ordered = (replace(said[1], score=1.0, logit=2.0), replace(said[0], score=0.5, logit=0.5))
    contest = Contest(example, said, said, history)
    return HeldOutAnswer(repeat, user % FOLDS, contest, AdaptRequest(query, said, history), ordered, "drama", "drama")


def everybody(**more):
    return [held_out(user, place, **more) for user in range(USERS) for place in range(QUERIES)]


def outputs(gated):
    return {(one.answer.repeat, one.answer.contest.example.query.id): one.output for one in gated}


def test_choices_pass_that_were_better_for_others_and_those_that_were_worse_do_not(tag_task):
    answers = everybody()
    gated = gated_answers(tag_task, answers, WANTED)
    assert len(gated) == len(answers)
    for one in gated:
        right = one.answer.contest.example.gold == "comedy"
        assert one.differs
        assert one.passes == right
        assert one.output == ("comedy" if right else "drama")


def test_a_users_own_answers_do_not_reach_their_gate(tag_task):
    before = outputs(gated_answers(tag_task, everybody(), WANTED))
    first = [
        held_out(user, place, gold="sci-fi" if user % FOLDS == 0 else None)
        for user in range(USERS)
        for place in range(QUERIES)
    ]
    after = outputs(gated_answers(tag_task, first, WANTED))
    own = [place for place in before if int(place[1][1:3]) % FOLDS == 0]
    assert [after[place] for place in own] == [before[place] for place in own]


def test_repeats_have_gates_of_their_own(tag_task):
    # In the second repeat the choice is always wrong: nothing of it reaches the first.
    answers = everybody() + [held_out(user, place, 1, "drama") for user in range(USERS) for place in range(QUERIES)]
    gated = gated_answers(tag_task, answers, WANTED)
    assert {one.output for one in gated if one.answer.repeat == 1} == {"drama"}
    assert outputs(gated).items() >= outputs(gated_answers(tag_task, everybody(), WANTED)).items()


def test_too_few_users_leave_the_gate_closed(tag_task):
    gated = gated_answers(tag_task, everybody(), GateSettings(least_users=USERS))
    assert all(one.is_closed and one.output == "drama" for one in gated)


def test_a_query_without_any_answer_has_none_with_the_gate(tag_task):
    silent = held_out(0, 0)
    silent = replace(silent, contest=replace(silent.contest, said=(), competing=()), ordered=())
    [one] = [one for one in gated_answers(tag_task, [*everybody()[1:], silent], WANTED) if not one.answer.ordered]
    assert (one.output, one.differs, one.passes) == ("", False, False)
