"""A causal LM in this process through `transformers`: the demo's own, or any local checkpoint."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from hydra_ray.records import ChatRequest, Generation, HydraError, Piece, Sampling, Usage
from hydra_ray.steps.batching import MicroBatcher
from hydra_ray.steps.generate.base import GenerateError
from hydra_ray.steps.generate.checkpoints import checkpoint_folder
from hydra_ray.steps.seeds import stable_seed

_KNOWN = frozenset({"top_p", "frequency_penalty", "presence_penalty", "stop", "logit_bias"})


class EmbeddedGenerator:
    """Answers batches of chat requests with a local causal LM.

    A request's samples depend on its own seed only, not on the batch it is answered in.

    Args:
        checkpoint: "demo" or the folder of a Hugging Face checkpoint with a chat template.
        dtype: Name of torch's type for weights and arithmetic, e.g. "float32".
        max_batch_size: Most requests answered together.

    Raises:
        HydraError: The checkpoint is absent or has no chat template.
    """

    def __init__(self, checkpoint: str, dtype: str, max_batch_size: int) -> None:
        folder = checkpoint_folder(checkpoint)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        if self._tokenizer.chat_template is None:
            raise HydraError(f"generator.model: the tokenizer in {folder} has no chat template")
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        if self._tokenizer.pad_token is None:
            # What stands in for padding is masked, so any token will do.
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model.to("cuda" if torch.cuda.is_available() else "cpu")
        self._ask = MicroBatcher(self.generate, max_batch_size)

    async def __call__(self, request: ChatRequest) -> Generation:
        generation = await self._ask(request)
        if isinstance(generation, GenerateError):
            raise generation
        return generation

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Piece]:
        """Yields one answer as it is made; closed before its end, the model stops at its next token."""
        request = replace(request, n=1)
        loop, rows = asyncio.get_running_loop(), asyncio.Queue[list[int] | None]()

        def hear(row: list[int]) -> None:
            loop.call_soon_threadsafe(rows.put_nowait, row)

        listener = _Listener(hear)
        making = asyncio.ensure_future(asyncio.to_thread(self.generate, [request], listener))
        making.add_done_callback(lambda _: rows.put_nowait(None))
        said = ""
        try:
            while (row := await rows.get()) is not None:
                # What may be the beginning of a stop, or half of a sign, waits for the next token.
                held = max((len(stop) - 1 for stop in request.sampling.stop), default=0)
                text = self._read([row], 0, request).texts[0].rstrip("\ufffd")
                text = text[: len(text) - held].rstrip() if held else text
                if text.startswith(said) and len(text) > len(said):
                    yield Piece(text[len(said) :])
                    said = text
            (answer,) = making.result()
            if isinstance(answer, GenerateError):
                raise answer
            if rest := answer.texts[0].removeprefix(said):
                yield Piece(rest)
            yield Piece("", answer.ends[0], answer.usage, answer.ignored)
        finally:
            listener.left.set()
            await asyncio.wait({making})

    async def close(self) -> None:
        """Does nothing: there is nothing to let go."""

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[ChatRequest], listener: _Listener | None = None
    ) -> list[Generation | GenerateError]:
        """Answers each request, in order; one that does not fit the model's context gets an error.

        Args:
            requests: Requests that are answered together.
            listener: Hears the tokens of the only sample of the only request; None where nobody does.
        """
        prompts = [self._prompt_ids(request) for request in requests]
        context = self._model.config.max_position_embeddings
        replies: list[Generation | GenerateError] = [
            GenerateError(
                f"the prompt has {len(ids)} tokens: with max_tokens {r.max_tokens} it exceeds the context length of "
                f"{context}",
                "refused",
            )
            for ids, r in zip(prompts, requests, strict=True)
        ]
        fitting = [i for i, ids in enumerate(prompts) if len(ids) + requests[i].max_tokens <= context]
        for together in _batches(fitting, [len(ids) for ids in prompts], [r.max_tokens for r in requests], context):
            answers = self._sample([prompts[i] for i in together], [requests[i] for i in together], listener)
            for i, answer in zip(together, answers, strict=True):
                replies[i] = answer
        return replies

    def _prompt_ids(self, request: ChatRequest) -> list[int]:
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        # The template writes its own special tokens.
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _sample(
        self, prompts: list[list[int]], requests: list[ChatRequest], listener: _Listener | None
    ) -> list[Generation]:
        batch = self._tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(self._model.device)
        counts = torch.tensor([request.n for request in requests], device=self._model.device)
        ids = batch["input_ids"].repeat_interleave(counts, dim=0)
        mask = batch["attention_mask"].repeat_interleave(counts, dim=0)
        output = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=self._prefill(batch, counts),
            do_sample=False,
            max_new_tokens=max(request.max_tokens for request in requests),
            logits_processor=LogitsProcessorList([_SeededSampling(requests, ids.shape[1])]),
            pad_token_id=self._tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([listener.after(ids.shape[1])] if listener else []),
        )
        rows = iter(output[:, ids.shape[1] :].tolist())
        return [self._read([next(rows) for _ in range(r.n)], len(p), r) for p, r in zip(prompts, requests, strict=True)]

    def _prefill(self, batch: Any, counts: Tensor) -> Any:
        """The prompts' key-value cache, computed once a request and repeated for its samples."""
        if batch["input_ids"].shape[1] < 2:
            return None
        # generate() computes the last position itself.
        mask = batch["attention_mask"][:, :-1]
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        cache = self._model(
            input_ids=batch["input_ids"][:, :-1], attention_mask=mask, position_ids=positions, use_cache=True
        ).past_key_values
        cache.batch_select_indices(torch.arange(len(counts), device=counts.device).repeat_interleave(counts))
        return cache

    def _read(self, rows: list[list[int]], prompt_tokens: int, request: ChatRequest) -> Generation:
        stop = self._model.generation_config.eos_token_id
        stops = set(stop if isinstance(stop, list) else [stop])
        answers, finishes = [], []
        for row in rows:
            end = next((i for i, token in enumerate(row) if token in stops), len(row))
            answers.append(row[: min(end, request.max_tokens)])
            finishes.append("stop" if end < min(len(row), request.max_tokens) else "length")
        texts = self._tokenizer.batch_decode(answers, skip_special_tokens=True)
        # A stop token is generated too, and every endpoint bills it.
        completion = sum(min(len(answer) + 1, request.max_tokens) for answer in answers)
        # The model goes on to the end of its answer, and what follows a stop is cut.
        ends = [_cut_at(text, request.sampling.stop, finish) for text, finish in zip(texts, finishes, strict=True)]
        ignored = tuple(name for name in request.sampling.parameters() if name not in _KNOWN)
        return Generation(
            tuple(text.strip() for text, _ in ends),
            Usage(1, prompt_tokens, completion),
            tuple(finish for _, finish in ends),
            ignored,
        )


def _cut_at(text: str, stops: Sequence[str], finish: str) -> tuple[str, str]:
    """Return the text before the first of the stops, and why it ends there."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], "stop") if places else (text, finish)


class _Listener(StoppingCriteria):
    """Hears each token of one sample when it is made, and stops the model when nobody listens any more.

    Args:
        hear: Takes the tokens of the answer so far, in the model's thread.

    Attributes:
        left: Set when nobody listens any more.
    """

    def __init__(self, hear: Callable[[list[int]], object]) -> None:
        self._hear, self._begin, self.left = hear, 0, threading.Event()

    def after(self, prompt_tokens: int) -> _Listener:
        """Return the same for an answer that begins after so many tokens."""
        self._begin = prompt_tokens
        return self

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        self._hear(input_ids[0, self._begin :].tolist())
        return torch.full((len(input_ids),), self.left.is_set(), dtype=torch.bool, device=input_ids.device)


def _batches(rows: list[int], prompts: list[int], answers: list[int], context: int) -> list[list[int]]:
    """Rows in as few batches as they come in: in each, the longest answer fits behind the longest prompt."""
    batches: list[list[int]] = []
    for row in rows:
        batch = [*batches[-1], row] if batches else [row]
        if batches and max(prompts[i] for i in batch) + max(answers[i] for i in batch) <= context:
            batches[-1] = batch
        else:
            batches.append([row])
    return batches


class _SeededSampling(LogitsProcessor):
    """Temperature sampling by the Gumbel-max trick, with a random stream of its own for every row.

    argmax(logits / T + Gumbel noise) is a sample of softmax(logits / T) (Maddison et al. 2014), so
    greedy decoding of the changed logits samples, and neighbours in a batch change nothing.

    Args:
        requests: Requests of the batch; each has as many rows as samples.
        start: Place of the first token of the answers.
    """

    def __init__(self, requests: Sequence[ChatRequest], start: int) -> None:
        self._rows = [request for request in requests for _ in range(request.n)]
        samples = [(request, i) for request in requests for i in range(request.n)]
        self._streams = [torch.Generator().manual_seed(stable_seed(request.seed, i)) for request, i in samples]
        self._start = start

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.float()
        for row, (request, stream) in enumerate(zip(self._rows, self._streams, strict=True)):
            wanted = request.sampling
            _shift(scores[row], input_ids[row, self._start :], wanted)
            if request.temperature > 0:
                noise = torch.empty(scores.shape[1]).exponential_(generator=stream).log_().neg_()
                scores[row] = scores[row] / request.temperature
                if wanted.top_p is not None:
                    _keep_nucleus(scores[row], wanted.top_p)
                scores[row] += noise.to(scores.device)
        return scores


def _shift(scores: Tensor, said: Tensor, wanted: Sampling) -> None:
    """Adds a row's biases and takes off its penalties, as OpenAI defines them."""
    for token, bias in wanted.logit_bias:
        if 0 <= int(token) < len(scores):
            scores[int(token)] += bias
    if wanted.presence_penalty or wanted.frequency_penalty:
        tokens, counts = said.unique(return_counts=True)
        scores[tokens] -= (wanted.presence_penalty or 0.0) + (wanted.frequency_penalty or 0.0) * counts


def _keep_nucleus(scores: Tensor, top_p: float) -> None:
    """Rules out all but the fewest tokens that together have a probability of top_p (Holtzman et al. 2020)."""
    ordered, tokens = scores.softmax(dim=-1).sort(descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    out = before >= top_p
    # One is always left.
    out[0] = False
    scores[tokens[out]] = float("-inf")
