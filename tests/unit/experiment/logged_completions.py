"""Completions as the log keeps them, of an experiment."""

from __future__ import annotations

from hydra_ray.records import Usage
from hydra_ray.store.completions.records import Completion, Offer, Statement


def completion(number, user, arm="spring/new", statement=None, tenant="acme", created_s=1000.0, propensity=0.5, **more):
    offers = Offer("See you there.", 2, 1.0), Offer("Bye.", 1, 0.0)
    values = {
        "id": f"chatcmpl-{number}", "request_id": "", "tenant": tenant, "user": user, "created_s": created_s,
        "version": "v1", "method": "hydra", "arm": arm, "propensity": propensity, "head": "user", "input": "And now?",
        "history": (), "candidates": offers, "answered": 0, "degraded": (), "usage": Usage(1, 900, 100),
        "seconds": 0.25, "streamed": False, "statement": statement, **more,
    }  # fmt: skip
    return Completion(**values)


def accepts(yes=True):
    return Statement("accepted" if yes else "rejected")
