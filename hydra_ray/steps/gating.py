"""Decides per request whether hydra's choice or a plain method's answer is given, out of the same candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hydra_ray.models.gate import Gate
from hydra_ray.models.lexical import lexical_features, log_share
from hydra_ray.records import Candidate, GateDecision
from hydra_ray.steps.adapt import AdaptRequest
from hydra_ray.steps.decide import preferences
from hydra_ray.steps.vote import consensus
from hydra_ray.tasks import Task

HYDRA = "hydra"
GREEDY, VOTE = "greedy", "vote"

# What is known of a request before its answers are judged; all but the last three are hydra's choice less the plain
# answer, or of both.
FEATURES = (
    "preference",
    "probability",
    "expected_score",
    "votes",
    "said",
    "alike",
    "past_equal",
    "past_alike",
    "in_query",
    "agreement",
    "history",
    "own_head",
)
# Preferences further apart than so tell nothing more.
_MOST_APART = 10.0


@dataclass(frozen=True, slots=True)
class Gating:
    """A gate as a method asks it.

    Attributes:
        gate: The gate of the base that judged the candidates.
        task: Task of the base.
    """

    gate: Gate
    task: Task

    def __call__(self, ask: AdaptRequest, judged: Sequence[Candidate]) -> GateDecision | None:
        """Return which answer is given; None where no plain method has an answer.

        Args:
            ask: What the adapter was asked.
            judged: Candidates as the adapter ordered them, with scores; the first is hydra's choice.
        """
        plain = self.plain(judged)
        if plain is None:
            return None
        choice, (name, other) = judged[0], plain
        if choice.text == other.text:
            return GateDecision(name, other.text, 0.0, 0.0)
        gain = self.gate.expected(gate_features(self.task, ask, judged, other))
        answered, text = (HYDRA, choice.text) if self.gate.passes(gain) else (name, other.text)
        return GateDecision(answered, text, gain.mean, gain.low)

    def plain(self, candidates: Sequence[Candidate]) -> tuple[str, Candidate] | None:
        """Return the plain answer that is given where the choice does not pass, after its name; None without one."""
        found = plain_answers(self.task, candidates)
        if not found:
            return None
        # Of another mix of prompts than in training the vote is the plain answer.
        name = self.gate.plain if self.gate.plain in found else VOTE
        return name, found[name]


def plain_answers(task: Task, candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    """Return what plain methods answer by the same samples, by name.

    That is "vote", what the samples agree on, and "greedy", the answer at temperature 0. Of several prompts "greedy" is
    what their answers at temperature 0 agree on, and each has its own of both, "recent-vote" and "recent-greedy" where
    the prompt is "recent".

    Args:
        task: Scores one answer as if another were right.
        candidates: Candidates with votes and sources, in any order; those without votes are no plain method's.
    """
    said = [candidate for candidate in candidates if candidate.votes]
    if not said:
        return {}
    found = {VOTE: consensus(task, said)[0]}
    prompts = list(dict.fromkeys(source.prompt for candidate in said for source in candidate.sources))
    for prompt in prompts:
        prefix = f"{prompt}-" if len(prompts) > 1 else ""
        own = [(candidate, source) for candidate in said for source in candidate.sources if source.prompt == prompt]
        if len(prompts) > 1:
            of_prompt = [replace(candidate, votes=source.votes) for candidate, source in own]
            agreed = consensus(task, of_prompt)[0]
            found[f"{prefix}{VOTE}"] = next(one for one in said if one.text == agreed.text)
        greedy = [candidate for candidate, source in own if source.greedy]
        if greedy:
            found[f"{prefix}{GREEDY}"] = greedy[0]
    if len(prompts) > 1:
        greedily = [(candidate, sum(source.greedy for source in candidate.sources)) for candidate in said]
        at_zero = [replace(candidate, votes=votes) for candidate, votes in greedily if votes]
        if at_zero:
            agreed = consensus(task, at_zero)[0]
            found[GREEDY] = next(one for one in said if one.text == agreed.text)
    return found


def gate_features(task: Task, ask: AdaptRequest, judged: Sequence[Candidate], plain: Candidate) -> tuple[float, ...]:
    """Return the features of one request, in the order of `FEATURES`.

    Args:
        task: Scores one answer as if another were right.
        ask: What the adapter was asked.
        judged: Candidates with scores, hydra's choice first.
        plain: The plain answer, one of these.
    """
    choice, total = judged[0], max(1, sum(candidate.votes for candidate in judged))
    shares = preferences(judged)

    def expected(text: str) -> float:
        return sum(share * task.score(text, other.text) for share, other in zip(shares, judged, strict=True))

    def lexical(text: str) -> tuple[float, ...]:
        return lexical_features(text, ask.query.input, ask.history_answers)

    past_equal, past_alike, in_query = (
        one - other for one, other in zip(lexical(choice.text), lexical(plain.text), strict=True)
    )
    return (
        max(-_MOST_APART, min(_MOST_APART, choice.score - plain.score)),
        shares[0],
        expected(choice.text) - expected(plain.text),
        log_share(choice.votes, total) - log_share(plain.votes, total),
        float(choice.votes > 0),
        task.score(choice.text, plain.text),
        past_equal,
        past_alike,
        in_query,
        max(candidate.votes for candidate in judged) / total,
        math.log1p(len(ask.history_answers)),
        float(ask.head is not None),
    )
