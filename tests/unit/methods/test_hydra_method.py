from dataclasses import replace

import pytest
from defaults import prompter, recipe

from hydra_ray.methods import METHODS, Ports
from hydra_ray.methods.hydra import Hydra
from hydra_ray.methods.ports import StepError
from hydra_ray.records import Choice, Ranked, UserKey
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.tasks import TEXT_TASK

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
# One request for all candidates, so that every call and vote can be counted.
RECIPE = recipe(
    rerank=True, greedy=False, retrieve=4, shots=2, candidates=8, temperature=0.9, history_answers=5, seed=7
)
SAMPLES = ["Drama.", "comedy", "drama", "comedy", "sci-fi", "comedy"]


class Steps:
    """Ports that follow a script: the reranker turns the order round, the adapter prefers "sci-fi".

    Args:
        history: What the retriever finds.
        texts: What the LLM answers.
        down: Names of steps that fail.
        personal: Whether the adapter knows the head that it is asked for.
    """

    def __init__(self, history, texts=(), down=(), personal=True):
        self.history, self.texts, self.down, self.personal = history, texts or SAMPLES, down, personal
        self.order, self.asked = [], {}

    def _note(self, name, *what):
        self.order.append(name)
        self.asked[name] = what
        if name in self.down:
            raise GenerateError("busy") if name == "generate" else StepError("down")

    async def retrieve(self, query, k, by):
        self._note("retrieve", query, k, by)
        return [Ranked(item, float(-place)) for place, item in enumerate(self.history[:k])]

    async def rerank(self, query, ranked, head):
        self._note("rerank", query, [r.item for r in ranked], head)
        return [Ranked(r.item, 9.0) for r in reversed(ranked)]

    async def adapt(self, query, candidates, history_answers, head):
        self._note("adapt", query, [(c.text, c.votes) for c in candidates], list(history_answers), head)
        judged = [replace(c, logit=float(c.text == "sci-fi")) for c in candidates]
        return Choice(tuple(sorted(judged, key=lambda c: -c.logit)), self.personal and head is not None)

    async def answer(self, scripted, task, query, head=ANN, recipe=RECIPE, **parts):
        """The answer of the whole method, or of its `parts`."""
        llm = scripted(lambda request: self._note("generate", request) or self.texts)
        method = Hydra(Ports(self.retrieve, self.rerank, llm, self.adapt), prompter(task), recipe, **parts)
        return await method(query, head)


@pytest.fixture
def history(item):
    return [item(f"film {number}", f"tag {number}") for number in range(7)]


@pytest.fixture
def film(query):
    return query("A dog barks.")


async def test_each_step_is_asked_once_in_order_with_what_the_one_before_found(scripted, tag_task, history, film):
    steps = Steps(history)
    answer = await steps.answer(scripted, tag_task, film)
    assert steps.order == ["retrieve", "rerank", "generate", "adapt"]
    assert steps.asked["retrieve"] == (film, 5, "bm25")
    assert steps.asked["rerank"] == (film, history[:4], ANN)
    shown = [history[3], history[2]]
    (request,) = steps.asked["generate"]
    assert request.messages == prompter(tag_task)(film, shown).messages
    assert (request.n, request.temperature, request.max_tokens) == (8, 0.9, tag_task.max_tokens)
    assert request.seed == stable_seed(7, ANN, film.id)
    # The adapter reads the retriever's order, so that its features do not depend on the reranker's head.
    history_answers = ["tag 0", "tag 1", "tag 2", "tag 3", "tag 4"]
    offered = [("drama", 2), ("comedy", 3), ("sci-fi", 1), ("dark comedy", 0)]
    assert steps.asked["adapt"] == (film, offered, history_answers, ANN)
    assert (answer.query_id, answer.text, answer.head, answer.degraded) == (film.id, "sci-fi", "user", ())
    assert [ranked.item for ranked in answer.history] == shown
    assert answer.usage.calls == 1


@pytest.mark.parametrize(
    ("parts", "reranks"), [({}, False), ({"gated": False}, False), ({"rerank": False}, False), ({"adapt": False}, True)]
)
async def test_without_a_reranker_the_retrievers_order_stays(scripted, tag_task, history, film, parts, reranks):
    steps = Steps(history)
    answer = await steps.answer(scripted, tag_task, film, recipe=replace(RECIPE, rerank=False), **parts)
    assert ("rerank" in steps.order) is reranks
    assert answer.degraded == ()
    if not reranks:
        assert [ranked.item for ranked in answer.history] == history[:2]


async def test_by_default_the_first_candidate_is_the_greedy_answer(scripted, tag_task, history, film):
    steps = Steps(history, texts=["drama"])
    llm = scripted(lambda request: ["comedy" if request.temperature else "drama"] * request.n)
    method = Hydra(Ports(steps.retrieve, steps.rerank, llm, steps.adapt), prompter(tag_task), recipe())
    answer = await method(film, ANN)
    assert [(request.n, request.temperature) for request in llm.requests] == [(1, 0.0), (7, 0.7)]
    assert steps.asked["adapt"][1] == [("drama", 1), ("comedy", 7), ("dark comedy", 0), ("sci-fi", 0)]
    assert answer.usage.calls == 2


async def test_candidates_are_told_best_first_as_the_adapter_has_them(scripted, tag_task, history, film):
    answer = await Steps(history).answer(scripted, tag_task, film)
    assert [(c.text, c.logit) for c in answer.candidates] == [
        ("sci-fi", 1.0),
        ("drama", 0.0),
        ("comedy", 0.0),
        ("dark comedy", 0.0),
    ]


@pytest.mark.parametrize(("retrieve", "history_answers", "k"), [(4, 2, 4), (2, 4, 4), (3, 0, 3)])
async def test_enough_is_retrieved_for_both_reranker_and_adapter(
    scripted, tag_task, history, film, retrieve, history_answers, k
):
    steps = Steps(history)
    await steps.answer(
        scripted, tag_task, film, recipe=replace(RECIPE, retrieve=retrieve, history_answers=history_answers)
    )
    assert steps.asked["retrieve"][1] == k
    assert len(steps.asked["rerank"][1]) == retrieve
    assert len(steps.asked["adapt"][2]) == history_answers


@pytest.mark.parametrize(
    ("head", "personal", "label"),
    [(ANN, True, "user"), (ANN, False, "shared"), (None, True, "shared"), (BOB, True, "other"), (BOB, False, "shared")],
)
async def test_the_answer_says_whose_head_judged(scripted, tag_task, history, film, head, personal, label):
    steps = Steps(history, personal=personal)
    answer = await steps.answer(scripted, tag_task, film, head=head)
    assert answer.head == label
    assert steps.asked["rerank"][2] == steps.asked["adapt"][3] == head


@pytest.mark.parametrize(
    ("down", "named", "shown", "text", "head"),
    [
        ("retrieve", "retriever", [], "sci-fi", "user"),
        ("rerank", "reranker", [0, 1], "sci-fi", "user"),
        # Without the adapter, what the LLM said most often.
        ("adapt", "adapter", [3, 2], "comedy", "none"),
    ],
)
async def test_a_step_that_fails_is_done_without_and_named(
    scripted, tag_task, history, film, down, named, shown, text, head, caplog
):
    answer = await Steps(history, down=[down]).answer(scripted, tag_task, film)
    assert answer.degraded == (named,)
    (logged,) = caplog.records
    assert str(logged.exc_info[1]) == "down", "with its cause"
    assert [ranked.item for ranked in answer.history] == [history[number] for number in shown]
    assert (answer.text, answer.head) == (text, head)


async def test_all_steps_but_the_llm_may_fail(scripted, tag_task, history, film):
    answer = await Steps(history, down=["rerank", "adapt"]).answer(scripted, tag_task, film)
    assert answer.degraded == ("reranker", "adapter")
    assert [(c.text, c.votes) for c in answer.candidates] == [("comedy", 3), ("drama", 2), ("sci-fi", 1)]


@pytest.mark.parametrize("texts", [["romance"], ["", " "]])
async def test_where_nobody_judges_only_what_the_llm_said_answers(scripted, tag_task, history, film, texts):
    answer = await Steps(history, down=["adapt"], texts=texts).answer(scripted, tag_task, film)
    assert (answer.text, answer.degraded) == (texts[0].strip(), ("adapter",))


async def test_no_answer_of_the_llm_is_an_error(scripted, tag_task, history, film):
    with pytest.raises(GenerateError, match="busy"):
        await Steps(history, down=["generate"]).answer(scripted, tag_task, film)


async def test_a_user_without_history_is_answered_all_the_same(scripted, tag_task, film):
    steps = Steps([])
    answer = await steps.answer(scripted, tag_task, film)
    assert steps.order == ["retrieve", "generate", "adapt"]
    assert steps.asked["adapt"][2] == []
    assert len(steps.asked["generate"][0].messages) == 1
    assert (answer.text, answer.history, answer.degraded) == ("sci-fi", (), ())


@pytest.mark.parametrize("texts", [["drama", "comedy"], ["romance"], ["", " "]])
async def test_an_allowed_answer_that_the_llm_did_not_say_can_be_chosen(scripted, tag_task, history, film, texts):
    answer = await Steps(history, texts=texts).answer(scripted, tag_task, film)
    assert (answer.text, answer.candidates[0].votes) == ("sci-fi", 0)
    assert {candidate.text for candidate in answer.candidates} == set(tag_task.labels)


async def test_of_free_text_only_what_the_llm_said_is_judged(scripted, history, film):
    steps = Steps(history, texts=["A title", "a dog", "A title"])
    await steps.answer(scripted, TEXT_TASK, film)
    assert steps.asked["adapt"][1] == [("A title", 2), ("a dog", 1)]


async def test_an_llm_that_says_nothing_gives_an_empty_answer_where_it_alone_says_what_competes(
    scripted, tag_task, history, film
):
    steps = Steps(history, texts=["", " "])
    answer = await steps.answer(scripted, tag_task, film, recipe=replace(RECIPE, allowed_answers=0))
    assert (answer.text, answer.candidates, answer.head) == ("", (), "none")
    assert "adapt" not in steps.order


async def test_the_reranker_alone_takes_one_greedy_answer(scripted, tag_task, history, film):
    steps = Steps(history, texts=["Drama."])
    answer = await steps.answer(scripted, tag_task, film, adapt=False)
    assert steps.order == ["retrieve", "rerank", "generate"]
    assert (steps.asked["generate"][0].n, steps.asked["generate"][0].temperature) == (1, 0.0)
    assert ([c.text for c in answer.candidates], answer.text, answer.head) == (["drama"], "drama", "none")


async def test_the_adapter_alone_keeps_the_retrievers_order(scripted, tag_task, history, film):
    steps = Steps(history)
    answer = await steps.answer(scripted, tag_task, film, rerank=False)
    assert steps.order == ["retrieve", "generate", "adapt"]
    assert [ranked.item for ranked in answer.history] == history[:2]
    assert (answer.text, answer.degraded) == ("sci-fi", ())


@pytest.mark.parametrize(
    ("name", "parts"),
    [("hydra", (True, True)), ("hydra-reranker", (True, False)), ("hydra-adapter", (False, True))],
)
def test_methods_are_known_by_name(tag_task, name, parts):
    method = METHODS[name](Ports(None, None, None, None), prompter(tag_task), RECIPE)
    assert (method.rerank, method.adapt) == parts
