"""The embedded generator on a random Llama of 45 words, and once on the demo's own."""

import asyncio
from dataclasses import replace
from importlib.resources import files

import pytest
import torch
from defaults import embedded_generator, simulate
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from hydra_ray.data.simulated import labels_in
from hydra_ray.records import ChatRequest, HydraError, Message, Sampling
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.embedded import EmbeddedGenerator
from hydra_ray.tasks.demo import DEMO_TASK

WORDS = ["<pad>", "<unk>", "<end>", "<user>", "<assistant>", *(f"w{number}" for number in range(40))]
TEMPLATE = "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}<assistant>"
CONTEXT = 64


def save_tokenizer(folder, **changes):
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>", "chat_template": TEMPLATE, **changes}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        # Spread out, so that a prompt matters and no two words are equally likely.
        initializer_range=0.5,
        pad_token_id=WORDS.index("<pad>"),
        bos_token_id=None,
        eos_token_id=WORDS.index("<end>"),
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def generator(checkpoint):
    return embedded_generator(str(checkpoint))


def ask(text, **numbers):
    return ChatRequest((Message("user", text),), **{"max_tokens": 12, **numbers})


SAMPLED = ask("w1 w2 w3", n=4, temperature=1.0, seed=3)


def test_samples_do_not_depend_on_the_batch_or_the_padding(generator):
    (alone,) = generator.generate([SAMPLED])
    longer, shorter = ask("w5 " * 30, n=2, temperature=0.7, max_tokens=20), ask("w9", max_tokens=3)
    for batch in ([longer, SAMPLED, shorter], [SAMPLED, SAMPLED], [shorter, longer, longer, SAMPLED]):
        answers = generator.generate(batch)
        assert answers[batch.index(SAMPLED)] == alone
        assert [len(answer.texts) for answer in answers] == [request.n for request in batch]


def test_a_sample_depends_on_seed_and_number_only(generator):
    first, again, more, other, hotter = generator.generate(
        [
            SAMPLED,
            SAMPLED,
            replace(SAMPLED, n=7),
            replace(SAMPLED, seed=4),
            replace(SAMPLED, temperature=3.0),
        ]
    )
    assert len(set(first.texts)) == SAMPLED.n
    assert first.texts == again.texts == more.texts[: SAMPLED.n]
    assert not set(first.texts) & set(other.texts)
    assert not set(first.texts) & set(hotter.texts)


def test_words_are_drawn_as_often_as_the_model_says(generator, checkpoint):
    request = ask("w1 w2 w3", n=2000, temperature=2.0, max_tokens=1)
    drawn = generator.generate([request])[0].texts
    logits = AutoModelForCausalLM.from_pretrained(checkpoint)(prompt_ids(checkpoint, request)).logits[0, -1]
    for word, share in zip(WORDS[5:], (logits / 2.0).softmax(-1)[5:].tolist(), strict=True):
        assert drawn.count(word) / 2000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("text", ["w1 w2 w3", "w9", "w5 w6 " * 15])
def test_at_temperature_0_all_answers_are_the_greedy_one(generator, checkpoint, text):
    request = ask(text, n=2)
    answer = generator.generate([ask("w7 " * 20, n=3, temperature=1.0), request])[1]
    assert answer.texts == (" ".join(greedy(checkpoint, request)),) * 2


def test_an_answer_ends_at_the_stop_word(generator, checkpoint, tmp_path):
    words = greedy(checkpoint, SAMPLED)
    stop = next(word for word in words if word not in words[:2])
    LlamaForCausalLM.from_pretrained(checkpoint).save_pretrained(tmp_path)
    GenerationConfig(eos_token_id=[WORDS.index(stop)], pad_token_id=0).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    (stopped,) = embedded_generator(str(tmp_path)).generate([replace(SAMPLED, n=2, temperature=0.0)])
    assert stopped.texts == (" ".join(words[: words.index(stop)]),) * 2
    # The stop word was generated too.
    assert stopped.usage.completion_tokens == 2 * (words.index(stop) + 1)


def test_usage_counts_the_prompt_once_and_all_samples(generator, checkpoint):
    usage = generator.generate([replace(SAMPLED, max_tokens=1)])[0].usage
    assert (usage.calls, usage.cached) == (1, 0)
    assert usage.prompt_tokens == prompt_ids(checkpoint, SAMPLED).shape[1] == 6
    assert usage.completion_tokens == 4


async def test_too_long_a_prompt_fails_alone(generator):
    # The template adds 3 words; 12 more must fit behind.
    fits, too_long = ask("w1 " * (CONTEXT - 15)), ask("w1 " * (CONTEXT - 14))
    answers = await asyncio.gather(*(generator(r) for r in (SAMPLED, too_long, fits)), return_exceptions=True)
    assert answers[0] == generator.generate([SAMPLED])[0]
    assert isinstance(answers[1], GenerateError)
    assert str(answers[1]) == "the prompt has 53 tokens: with max_tokens 12 it exceeds the context length of 64"
    assert len(answers[2].texts) == 1


def test_requests_that_all_are_too_long_are_all_refused(generator):
    assert [type(answer) for answer in generator.generate([ask("w1 " * 99)] * 2)] == [GenerateError] * 2
    assert generator.generate([]) == []


def test_no_more_requests_are_answered_together_than_allowed(checkpoint, monkeypatch):
    sizes = []
    answer = EmbeddedGenerator.generate
    monkeypatch.setattr(EmbeddedGenerator, "generate", lambda self, asks: sizes.append(len(asks)) or answer(self, asks))
    generator = embedded_generator(str(checkpoint), max_batch_size=2)

    async def five():
        return await asyncio.gather(*(generator(ask(f"w{number}")) for number in range(5)))

    assert len(asyncio.run(five())) == sum(sizes) == 5
    assert max(sizes) == 2


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(HydraError, match=rf"^generator.model: {tmp_path} holds no checkpoint"):
        embedded_generator(str(tmp_path))


def test_a_tokenizer_without_a_chat_template_is_named(checkpoint, tmp_path):
    AutoModelForCausalLM.from_pretrained(checkpoint).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, chat_template=None)
    with pytest.raises(HydraError, match=rf"^generator.model: the tokenizer in {tmp_path} has no chat template"):
        embedded_generator(str(tmp_path))


def test_a_tokenizer_without_a_pad_token_will_do(generator, checkpoint, tmp_path):
    AutoModelForCausalLM.from_pretrained(checkpoint).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, pad_token=None)
    assert embedded_generator(str(tmp_path)).generate([SAMPLED]) == generator.generate([SAMPLED])


def test_a_long_prompt_and_a_long_answer_fit_together_where_each_fits_alone(tmp_path):
    config = GPT2Config(
        vocab_size=len(WORDS), n_embd=32, n_layer=1, n_head=2, n_positions=CONTEXT, eos_token_id=WORDS.index("<end>")
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    generator = embedded_generator(str(tmp_path))
    long_prompt, long_answer = ask("w1 " * 55, max_tokens=2), ask("w2", max_tokens=40)
    assert generator.generate([long_prompt, long_answer])[0] == generator.generate([long_prompt])[0]


@pytest.mark.skipif(
    not (files("hydra_ray.data") / "demo_generator" / "config.json").is_file(), reason="the demo's generator is absent"
)
def test_the_demos_generator_names_a_mood_of_the_text():
    data, _ = simulate(users=4, history=0, queries=5, seed=5, split="dev")
    texts = [query.input for user in data.users for query in user.queries]
    asks = [ask(DEMO_TASK.question(text), max_tokens=DEMO_TASK.max_tokens) for text in texts]
    answers = [DEMO_TASK.parse(answer.texts[0]) for answer in embedded_generator("demo").generate(asks)]
    assert None not in answers
    assert sum(answer in labels_in(text) for answer, text in zip(answers, texts, strict=True)) >= 18


def prompt_ids(checkpoint, request):
    text = "".join(f"<{message.role}> {message.content} <end> " for message in request.messages) + "<assistant>"
    return AutoTokenizer.from_pretrained(checkpoint)(text, return_tensors="pt")["input_ids"]


def greedy(checkpoint, request):
    """The words that transformers gives for one prompt, without the cache, the padding and the sampling of ours."""
    ids = prompt_ids(checkpoint, request)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
    return [WORDS[token] for token in output[0, ids.shape[1] :].tolist() if token > WORDS.index("<end>")]


def wishing(**wished):
    return replace(SAMPLED, sampling=Sampling(**wished))


def test_a_small_top_p_leaves_the_most_probable_word_alone(generator):
    (greedy_one,) = generator.generate([ask("w1 w2 w3")])
    narrow, wide = generator.generate([wishing(top_p=0.0), wishing(top_p=1.0)])
    assert set(narrow.texts) == set(greedy_one.texts)
    assert wide.texts == generator.generate([SAMPLED])[0].texts


def test_biases_and_penalties_shift_what_is_said_in_their_own_row(generator):
    word = WORDS.index("w7")
    biased, plain, penalised = generator.generate(
        [wishing(logit_bias=((str(word), 100.0), ("999999", 100.0))), SAMPLED, wishing(frequency_penalty=2.0)]
    )
    assert set(biased.texts) == {" ".join(["w7"] * SAMPLED.max_tokens)}
    assert plain == generator.generate([SAMPLED])[0]
    assert max(text.split().count(w) for text in penalised.texts for w in text.split()) <= 4


def test_an_answer_ends_before_a_stop_and_says_why_it_ended(generator):
    (whole,) = generator.generate([SAMPLED])
    text = max(whole.texts, key=lambda text: len(text.split()))
    stop = text.split()[3]
    (cut,) = generator.generate([wishing(stop=("nothing", stop))])
    place = whole.texts.index(text)
    assert cut.texts[place] == text[: text.index(stop)].strip()
    assert cut.finishes[place] == "stop"
    for text, finish in zip(whole.texts, whole.finishes, strict=True):
        assert finish == "length" or len(text.split()) < SAMPLED.max_tokens
    assert set(whole.finishes) == {"length", "stop"}


def test_what_it_does_not_know_is_named(generator):
    answer = generator.generate([wishing(verbosity="low", top_p=0.5, response_format='{"type": "json_object"}')])[0]
    assert answer.ignored == ("response_format", "verbosity")
