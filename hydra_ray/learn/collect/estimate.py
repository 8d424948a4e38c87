"""Estimates what a collection will ask, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.requests import RequestWriter
from hydra_ray.records import ChatRequest
from hydra_ray.settings import LimitSettings
from hydra_ray.steps.generate.cache import AnswerCache, ask_key
from hydra_ray.steps.generate.splitting import parts_of


@dataclass(slots=True)
class Estimate:
    """Number of requests and tokens that a collection has ahead.

    Attributes:
        examples: Queries to ask.
        kept: Queries whose feedback is there.
        requests: Requests of those to ask, repeated ones counted once; several where samples are asked one by one.
        repeated: Requests that are the same as another one.
        cached: Requests whose answer is known from an earlier run.
        prompt_tokens: Prompt tokens of the requests that are left.
        completion_tokens: The most that they can be answered with.
        exact: Whether prompt tokens were counted with the model's tokenizer.
        most_samples: How many samples one request may ask for, as far as is known; None is any number.
    """

    examples: int = 0
    kept: int = 0
    requests: int = 0
    repeated: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    exact: bool = False
    most_samples: int | None = None

    def table(self, limits: LimitSettings) -> Table:
        """For people to read."""
        table = Table("", "", title="What this collection will ask", show_header=False)
        table.add_row("queries", f"{self.examples:,} ({self.kept:,} more are there already)")
        table.add_row("LLM calls", f"{self.requests - self.cached:,}")
        if self.most_samples is not None:
            table.add_row("samples", f"at most {self.most_samples} of a request: the endpoint takes no more")
        table.add_row(
            "answers known already", f"{self.cached:,} from an earlier run, {self.repeated:,} asked twice here"
        )
        counted = "counted with the model's tokenizer" if self.exact else "estimated, 4 bytes a token"
        table.add_row("tokens in", f"{self.prompt_tokens:,} ({counted})")
        table.add_row("tokens out", f"at most {self.completion_tokens:,}")
        if limits.price_in or limits.price_out:
            cost = (self.prompt_tokens * limits.price_in + self.completion_tokens * limits.price_out) / 1e6
            table.add_row("cost", f"at most {cost:,.2f}")
        for name, limit, ahead in (
            ("calls", limits.calls, self.requests - self.cached),
            ("tokens", limits.tokens, self.prompt_tokens + self.completion_tokens),
        ):
            if limit is not None and ahead > limit:
                table.add_row("limit", f"generator.limits.{name} is {limit:,}: the run may stop early")
        return table


def estimate(
    examples: Iterable[Example],
    questions: RequestWriter,
    cache: AnswerCache | None,
    identity: str,
    count_tokens: Callable[[ChatRequest], int],
    exact: bool,
    most_samples: int | None,
    reasoning_tokens: int,
) -> Estimate:
    """Writes every request that the examples need, and asks none.

    Args:
        examples: Examples that are left to ask.
        questions: Writes the requests.
        cache: Known answers, if there are any.
        identity: Name of the generator that its answers are kept under, from `generator_identity`.
        count_tokens: Counts the tokens of a request's prompt.
        exact: Whether `count_tokens` counts with the model's own tokenizer.
        most_samples: Samples that the endpoint gives for one request; None is any number.
        reasoning_tokens: Most tokens of reasoning in each answer.
    """
    result, seen = Estimate(exact=exact, most_samples=most_samples), set[str]()
    for example in examples:
        result.examples += 1
        for request in questions(example).requests:
            ask = ask_key(identity, request)
            if ask in seen:
                result.repeated += 1
                continue
            seen.add(ask)
            parts = parts_of(request, most_samples)
            result.requests += len(parts)
            if cache is not None and ask in cache:
                result.cached += len(parts)
                continue
            # Of a request that was not answered whole some samples may be there.
            left = [part for part in parts if cache is None or ask_key(identity, part) not in cache]
            result.cached += len(parts) - len(left)
            result.prompt_tokens += len(left) * count_tokens(request)
            result.completion_tokens += sum(part.n for part in left) * (request.max_tokens + reasoning_tokens)
    return result


def chat_token_counter(folder: Any) -> Callable[[ChatRequest], int]:
    """Counts with the tokenizer and chat template of a checkpoint's folder."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def count(request: ChatRequest) -> int:
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    return count
