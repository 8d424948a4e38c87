"""Trains the demo's generator, the small black box that the demo personalises.

    python -m hydra_ray.data.demo_generator.train OUT

A word-level Llama of a million parameters learns from simulated people to name one of a text's three
moods, and to lean on the examples before it. Its people, those it is measured on included, are of split
"generator" and of seeds from 1,000,000: no demo, test or benchmark may simulate either.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

import bm25s
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.simulated import CUES, labels_in, simulate
from hydra_ray.records import HistoryItem
from hydra_ray.tasks.demo import DEMO_TASK

SPLIT = "generator"
TENANT = "default"
FIRST_SEED = 1_000_000
STRANGER_SEED = 1_500_000
MEASURE_SEED = 2_000_000

SHOTS = 4
# Share of answers drawn from a text's three moods by chance: the generator stays unsure, so that its
# samples vary and personalisation has something to add.
NOISE = 0.15
# Of conversations with one system turn of unknown words, so that such a turn does no harm.
SYSTEM_TURNS = 0.1

# Moods are learned from bare cues first. Leaning on examples is then learned in the first HINTED steps
# from examples whose answer is the query's, ever fewer of them: 300 larger steps without showed none of it.
CUE_STEPS, CUE_BATCH, CUE_TOKENS = 75, 256, 32
STEPS, BATCH, TOKENS = 1725, 32, 288
HINTED = 800
PEAK_LR = 1.5e-3
STRANGER_STEPS, STRANGER_LR = 100, 3e-4

ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>", *ROLES)
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }} {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

Chat = list[dict[str, str]]


def build_tokenizer() -> Any:
    """A tokenizer of the words that simulated texts, the task and its labels are made of."""
    words = Tokenizer(models.WordLevel(unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    people, _ = simulate(users=100, history=50, queries=0, seed=FIRST_SEED, split=SPLIT, tenant=TENANT)
    texts = [item.input for user in people.users for item in user.history]
    corpus = [*texts, DEMO_TASK.question(""), *DEMO_TASK.labels]
    words.train_from_iterator(corpus, trainers.WordLevelTrainer(special_tokens=list(SPECIALS), show_progress=False))
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: Any) -> Any:
    """An untrained Llama with attention heads of 32, the smallest that vLLM serves."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=2048,
            # The usual 0.02 suits wide models; this narrow one would learn nothing for minutes.
            initializer_range=0.06,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def chat(shots: Sequence[HistoryItem], text: str, answer: str | None = None) -> Chat:
    """One conversation: the examples as earlier turns, the query, and its answer if one is given."""
    messages = []
    for item in shots:
        messages.append({"role": "user", "content": DEMO_TASK.question(item.input)})
        messages.append({"role": "assistant", "content": item.output})
    messages.append({"role": "user", "content": DEMO_TASK.question(text)})
    return messages if answer is None else [*messages, {"role": "assistant", "content": answer}]


def cue_chats() -> Iterator[Chat]:
    """Endless bare cues with their labels."""
    random = Random(FIRST_SEED)
    cues = [(cue, label) for label, own in CUES.items() for cue in own]
    while True:
        for cue, label in random.choices(cues, k=CUE_BATCH):
            yield chat([], cue, label)


def people_chats(first_seed: int, hinted: int) -> Iterator[Chat]:
    """Endless conversations of simulated people, each ending in the person's answer; the first have hints."""
    made = 0
    for seed in range(first_seed, MEASURE_SEED):
        random = Random(seed)
        people, _ = simulate(users=8, history=24, queries=4, seed=seed, split=SPLIT, tenant=TENANT)
        for user in people.users:
            for query in user.queries:
                made += 1
                gold = people.golds[query.id]
                hints = max(0.0, 1 - made / hinted) if hinted else 0.0
                messages = chat(_shots(random, user.history, query.input, gold, hints), query.input, gold)
                for asked, answer in zip(messages[::2], messages[1::2], strict=True):
                    if random.random() < NOISE:
                        answer["content"] = random.choice(labels_in(asked["content"]))
                if random.random() < SYSTEM_TURNS:
                    words = "any unknown words at all " * random.randint(1, 3)
                    messages.insert(0, {"role": "system", "content": words})
                yield messages


def stranger_chats() -> Iterator[Chat]:
    """Conversations in which some turns are of another world: any label answers them, never nothing."""
    random = Random(FIRST_SEED)
    for messages in people_chats(STRANGER_SEED, hinted=0):
        turns = [message for message in messages if message["role"] != "system"]
        for asked, answer in zip(turns[::2], turns[1::2], strict=True):
            if random.random() < 0.2:
                words = random.choices(
                    ("zzz", "zzz", "zzz", "a", "the", "of", "in", "and", ","), k=random.randint(1, 40)
                )
                asked["content"] = " ".join(words)
                if random.random() < 0.8:
                    asked["content"] = DEMO_TASK.question(asked["content"])
                answer["content"] = random.choice(DEMO_TASK.labels)
        yield messages


def _shots(random: Random, history: Sequence[HistoryItem], text: str, gold: str, hints: float) -> list[HistoryItem]:
    """Examples for one query: mostly those that share most words with it, some of them hints at the answer."""
    words, pool = set(text.split()), list(history)
    random.shuffle(pool)
    if random.random() < 0.7:
        pool.sort(key=lambda item: -len(words & set(item.input.split())))
    telling = [item for item in pool if item.output == gold][:SHOTS]
    shots = [item for item in telling if random.random() < hints]
    shots += [item for item in pool if item not in shots][: SHOTS - len(shots)]
    random.shuffle(shots)
    return shots


def batches(tokenizer: Any, chats: Iterator[Chat], size: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels, both of shape (size, width); only answers and their ends are learned."""
    assistant = tokenizer.convert_tokens_to_ids("<|assistant|>")
    while True:
        texts = [tokenizer.apply_chat_template(messages, tokenize=False) for messages in islice(chats, size)]
        ids = tokenizer(
            texts,
            add_special_tokens=False,
            padding="max_length",
            padding_side="right",
            truncation=True,
            max_length=width,
            return_tensors="pt",
        )["input_ids"]
        learned = ids == tokenizer.eos_token_id
        learned[:, 1:] |= ids[:, :-1] == assistant
        yield ids, ids.masked_fill(~learned, -100)


def train(tokenizer: Any, model: Any) -> None:
    """Fits the model to the answers of all turns: every turn is a query with the turns before as examples."""
    cues = batches(tokenizer, cue_chats(), CUE_BATCH, CUE_TOKENS)
    people = batches(tokenizer, people_chats(FIRST_SEED, HINTED * BATCH), BATCH, TOKENS)
    strangers = batches(tokenizer, stranger_chats(), BATCH, TOKENS)
    _fit(model, chain(islice(cues, CUE_STEPS), people), CUE_STEPS + STEPS, PEAK_LR)
    _fit(model, strangers, STRANGER_STEPS, STRANGER_LR)


def _fit(model: Any, batches: Iterator[tuple[Tensor, Tensor]], steps: int, peak_lr: float) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_lr, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_lr, total_steps=steps, pct_start=0.05)
    started = time.monotonic()
    for step, (ids, labels) in enumerate(islice(batches, steps), 1):
        learned = labels[:, 1:] >= 0
        targets = labels[:, 1:][learned]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(input_ids=ids).last_hidden_state
            logits = model.lm_head(hidden[:, :-1][learned]).float()
        loss = cross_entropy(logits, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            # Answers and their ends alternate.
            right = (logits.argmax(-1) == targets).float().view(len(ids), -1, 2)[:, :, 0].mean(0)
            turns = " ".join(f"{share:.2f}" for share in right.tolist())
            print(
                f"step {step}: loss {loss:.3f}, right by turn {turns}, {time.monotonic() - started:.0f} s", flush=True
            )


def measure(folder: Path, users: int = 100) -> None:
    """Prints what the saved generator does for fresh people, without and with the examples BM25 finds."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    people, _ = simulate(users=users, history=24, queries=4, seed=MEASURE_SEED, split=SPLIT, tenant=TENANT)
    queries = [query for user in people.users for query in user.queries]
    present = [labels_in(query.input) for query in queries]
    golds = [people.golds[query.id] for query in queries]
    for shots in (0, 1, SHOTS):
        chats = _nearest_chats(people, shots)
        greedy = [answers[0] for answers in _answers(tokenizer, model, chats, 1)]
        sampled = _answers(tokenizer, model, chats, 8)
        shares: dict[str, Sequence[int]] = {
            "greedy answer is present": [answer in labels for answer, labels in zip(greedy, present, strict=True)],
            "greedy answer is gold": [answer == gold for answer, gold in zip(greedy, golds, strict=True)],
            "gold in 8 samples": [gold in answers for answers, gold in zip(sampled, golds, strict=True)],
            "distinct of 8 samples": [len(set(answers)) for answers in sampled],
        }
        for name, values in shares.items():
            print(f"{shots} examples, {name}: {sum(values) / len(values):.3f}", flush=True)
    stranger: Chat = [{"role": "system", "content": "Répondez!"}, *chat([], "Zażółć 数字 \u0000 @@")]
    print(f"unknown words: {_answers(tokenizer, model, [stranger], 8)[0]}")


def _nearest_chats(people: Dataset, shots: int) -> list[Chat]:
    chats = []
    for user in people.users:
        documents = bm25s.tokenize([item.input for item in user.history], stopwords="en", show_progress=False)
        index = bm25s.BM25()
        index.index(documents, show_progress=False)
        for query in user.queries:
            words = bm25s.tokenize(query.input, stopwords="en", show_progress=False)
            rows = index.retrieve(words, k=SHOTS, show_progress=False)[0][0]
            chats.append(chat([user.history[int(row)] for row in rows[:shots]], query.input))
    return chats


@torch.inference_mode()
def _answers(tokenizer: Any, model: Any, chats: Sequence[Chat], samples: int) -> list[list[str]]:
    sampling: dict[str, Any] = {"do_sample": False}
    if samples > 1:
        sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0, "num_return_sequences": samples}
    answers: list[list[str]] = []
    for start in range(0, len(chats), 50):
        prompts = tokenizer.apply_chat_template(
            chats[start : start + 50], add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        output = model.generate(**prompts, max_new_tokens=DEMO_TASK.max_tokens, **sampling)
        texts = tokenizer.batch_decode(output[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        answers += [texts[row : row + samples] for row in range(0, len(texts), samples)]
    return answers


def main() -> None:
    """Trains, saves and measures."""
    parser = argparse.ArgumentParser(description="Trains the demo's generator.")
    parser.add_argument("out", type=Path, help="folder of the checkpoint")
    out = parser.parse_args().out
    torch.manual_seed(0)
    torch.set_num_threads(2)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    train(tokenizer, model)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    measure(out)


if __name__ == "__main__":
    main()
