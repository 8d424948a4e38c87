"""A collection in this process, and an LLM that knows one answer."""

import asyncio
from collections import Counter
from dataclasses import replace

from defaults import prompter, recipe

from hydra_ray.learn.collect.labeler import Labeler
from hydra_ray.learn.collect.report import CollectReport, left_to_ask, record
from hydra_ray.learn.collect.requests import RequestWriter
from hydra_ray.records import ChatRequest
from hydra_ray.steps.generate.failures import FailureLog

# One request for all candidates, so that every call and vote can be counted.
RECIPE = recipe(greedy=False, shots=2, candidates=4, temperature=0.9, history_answers=3, seed=7)


def answers(request: ChatRequest):
    """Knows the answer with the nearest item in the prompt only; its four samples are of three kinds."""
    if request.n > 1:
        return ["comedy", "Drama.", "Comedy", "no idea"]
    return ["Comedy."] if "a robot falls" in request.messages[0].content and len(request.messages) > 1 else ["drama"]


def run(examples, llm, store, task, items=2, seen=None, first=None):
    """A collection in this process: each unit is asked when the one before it is recorded."""
    asker, questions = Labeler(llm, task), RequestWriter(prompter(task), RECIPE, items)
    todo = left_to_ask(examples, store)
    feedback = ((example.key, asyncio.run(asker(questions(example)))) for example in todo)
    report = CollectReport(kept=len(examples) - len(todo))
    log = FailureLog(0.5, answered_before=report.kept)
    return record(feedback, store, report, (seen if seen is not None else []).append, log, first)


def timeless(report):
    return replace(report, began=0.0, ended=0.0, call_seconds=0.0)


def asked_texts(llm):
    """Which queries were asked, and how often for candidates."""
    return Counter(r.messages[-1].content.split(": ")[1] for r in llm.requests if r.n > 1)


def keys(rows):
    return [row.example_id for row in rows]
