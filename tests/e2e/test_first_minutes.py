"""The README's first ten minutes, for Chinese records and an endpoint that takes one sample a request and reasons."""

import json
import random
import re

import pytest
import quirky_endpoint as quirky
from results_file import read_result

ASKED = ("明天能开会吗", "会议室周五有空吗", "你可以帮我看一下报告吗", "晚上一起吃饭好吗", "这个价格合适吗")
QUIRKS = ("zh", "n1", "think")


@pytest.fixture
def folder(tmp_path):
    """Ten people, most of whom answer in one of two manners, and settings as the README has them."""
    drawn = random.Random(0)
    with (tmp_path / "records.jsonl").open("w", encoding="utf-8") as lines:
        for user in range(10):
            for day in range(1, 9):
                answer = quirky.ANSWERS["zh"][user % 2] if drawn.random() < 0.8 else drawn.choice(quirky.ANSWERS["zh"])
                record = {
                    "user_id": f"u{user}",
                    "input": drawn.choice(ASKED),
                    "output": answer,
                    "ts": f"2026-01-0{day}",
                }
                lines.write(json.dumps(record, ensure_ascii=False) + "\n")
    return tmp_path


def test_chinese_records_and_an_endpoint_of_quirks_need_no_more_than_the_readme_says(ray_cluster, folder, hydra_ray):
    with quirky.serving() as server:
        (folder / "settings.yaml").write_text(
            "out: out\n"
            "data: {format: records, path: records.jsonl, instruction: 请替此人回复。, dev_share: 0.3}\n"
            f"generator: {{backend: openai, base_url: '{server.url(*QUIRKS)}', model: m, retries: 0}}\n"
            "feedback: {pseudo_queries: 3, items: 2}\n"
            "base: {epochs: 1}\n"
            "evaluate: {methods: [zero-shot, rag, hydra], bootstrap: 100, folds: 2}\n",
            encoding="utf-8",
        )

        def run(*words):
            done = hydra_ray(*words, cwd=folder)
            assert done.returncode == 0, done.stderr
            return done.stdout

        name = "+".join(QUIRKS)
        told = run("data", "describe", "settings.yaml")
        assert "Han 100 %" in told
        assert "minilm, which knows English" in told
        assert "1 a request" in run("doctor", "settings.yaml")
        refused = server.refused[name]
        planned = run("collect", "settings.yaml", "users=train", "--dry-run")
        calls = int(re.search(r"LLM calls +│ ([\d,]+)", planned)[1].replace(",", ""))
        before = len(server.asked[name])
        run("collect", "settings.yaml", "users=train")
        assert len(server.asked[name]) - before == calls, "a dry run tells what will be asked, sample by sample"
        run("train", "settings.yaml")
        run("fit", "settings.yaml", "users=dev")
        table = run("evaluate", "settings.yaml", "data.split=dev")
        # The doctor learnt the dialect for all commands.
        assert server.refused[name] == refused
    assert "rouge_1" in table
    (task,) = read_result(folder / "out" / "results.json").tasks
    # Answers that say the same score 1, so what a user prefers can be learnt; reasoning is no part of them.
    assert task.methods["best-candidate"]["rouge_1"].value > 0.3
    predictions = (folder / "out" / "predictions.jsonl").read_text(encoding="utf-8")
    assert "think" not in predictions
