"""The committed checkpoint of the demo's generator: it loads, answers, stops, and listens to examples."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from defaults import simulate
from transformers import AutoModelForCausalLM, AutoTokenizer

from hydra_ray.data.simulated import labels_in
from hydra_ray.tasks.demo import DEMO_LABELS, DEMO_TASK

FOLDER = Path(str(files("hydra_ray.data") / "demo_generator"))


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER, local_files_only=True, padding_side="left")


@pytest.fixture(scope="module")
def answer(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(FOLDER, local_files_only=True).eval()

    @torch.inference_mode()
    def greedy(chats):
        prompts = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        output = model.generate(**prompts, do_sample=False, max_new_tokens=DEMO_TASK.max_tokens)
        return output[:, prompts["input_ids"].shape[1] :]

    return greedy


def ask(text, *turns):
    shots = [
        {"role": role, "content": content}
        for shot, output in turns
        for role, content in (("user", DEMO_TASK.question(shot)), ("assistant", output))
    ]
    return [*shots, {"role": "user", "content": DEMO_TASK.question(text)}]


@pytest.fixture(scope="module")
def queries():
    data, _ = simulate(users=10, history=4, queries=4, seed=11, split="dev")
    return [(query.input, user.history) for user in data.users for query in user.queries]


def test_it_names_a_mood_of_the_text_and_stops(tokenizer, answer, queries):
    output = answer([ask(text) for text, _ in queries])
    texts = tokenizer.batch_decode(output, skip_special_tokens=True)
    named = [said in labels_in(text) for said, (text, _) in zip(texts, queries, strict=True)]
    assert sum(named) >= 0.9 * len(named)
    assert (output[:, 1] == tokenizer.eos_token_id).all()


def test_it_follows_examples_that_agree(tokenizer, answer):
    data, preferences = simulate(users=8, history=60, queries=4, seed=12, split="dev")
    chats, golds = [], []
    for user in data.users:
        first = preferences[user.key].ranking[0]
        shots = [(item.input, item.output) for item in user.history if item.output == first][:4]
        favoured = [query.input for query in user.queries if data.golds[query.id] == first]
        chats += [ask(text, *shots) for text in favoured]
        golds += [first] * len(favoured)
    texts = tokenizer.batch_decode(answer(chats), skip_special_tokens=True)
    assert len(golds) >= 4
    assert sum(said == gold for said, gold in zip(texts, golds, strict=True)) >= 0.7 * len(golds)


def test_words_and_roles_it_does_not_know_do_no_harm(tokenizer, answer):
    system = {"role": "system", "content": "Répondez, s'il vous plaît!"}
    chats = [[system, *ask("数字 @@ zażółć")], ask("A ghost haunts the old motel"), ask("")]
    assert tokenizer.unk_token_id in tokenizer.apply_chat_template(chats[0], return_dict=True)["input_ids"]
    assert set(tokenizer.batch_decode(answer(chats), skip_special_tokens=True)) <= set(DEMO_LABELS)


def test_its_vocabulary_covers_the_demo(tokenizer, queries):
    for text, _ in queries:
        assert tokenizer.unk_token_id not in tokenizer(DEMO_TASK.question(text))["input_ids"]
    assert all(len(tokenizer(label, add_special_tokens=False)["input_ids"]) == 1 for label in DEMO_LABELS)


def test_it_is_small_and_holds_no_pickle():
    names = {path.name for path in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10 * 2**20
