"""What the completion log keeps of an answer."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field, replace

from hydra_ray.records import Answer, Query
from hydra_ray.serve.http.principal import Principal
from hydra_ray.store.completions.records import Completion, GateOutcome, Offer, PassedFor


@dataclass(frozen=True, slots=True)
class Begun:
    """A request for a completion, from the moment when it came.

    Attributes:
        id: Id that the completion will have.
        created_s: Seconds since 1970 at which the request came.
        began: The same moment on a clock that never jumps, in seconds.
    """

    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created_s: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)

    def answered(
        self,
        caller: Principal,
        query: Query,
        answer: Answer,
        method: str,
        version: str,
        *,
        request_id: str,
        personalised: bool,
        streamed: bool,
        arm: str | None,
        propensity: float,
        passed_for: PassedFor | None = None,
    ) -> Completion:
        """Return what is kept of the answer.

        Args:
            caller: Principal of the request.
            query: What was asked.
            answer: What was answered.
            method: Name of the method.
            version: Version of the base that judged.
            request_id: Id of the request.
            personalised: Whether the user may be known. If not, the row is nobody's, and holds no text and no item.
            streamed: Whether the answer is streamed.
            arm: Arm of an experiment; None where there is none.
            propensity: Probability with which the arm was chosen.
            passed_for: Why the LLM answered the request as it was; None where a method answered it.
        """
        mixed = len({source.prompt for one in answer.candidates for source in one.sources}) > 1
        offers = tuple(Offer(one.text, one.votes, one.score, one.sources if mixed else ()) for one in answer.candidates)
        texts = [one.text for one in offers]
        if answer.text and answer.text not in texts:
            # A method need not tell of candidates. What calls tools, or was taken by a filter, is none.
            offers, texts = (Offer(answer.text, 1, 0.0), *offers), [answer.text, *texts]
        decision = answer.gate
        completion = Completion(
            self.id,
            request_id,
            caller.tenant,
            caller.user_id,
            self.created_s,
            version,
            method,
            arm,
            propensity,
            answer.head,
            query.input,
            answer.read,
            offers,
            texts.index(answer.text) if texts else 0,
            answer.degraded,
            answer.usage,
            time.monotonic() - self.began,
            streamed,
            passed_for=passed_for,
            gate=None if decision is None else GateOutcome(decision.answered, decision.gain, decision.low),
        )
        is_somebodys = personalised and caller.user is not None
        return completion if is_somebodys else replace(completion, user=None, input=None, history=(), candidates=())
