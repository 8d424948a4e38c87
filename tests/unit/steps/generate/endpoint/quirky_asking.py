"""Requests to endpoints of quirks, as commands make them."""

import contextlib

from defaults import budget_of, endpoint_at, openai_generator, splitting

from hydra_ray.records import ChatRequest, Message
from hydra_ray.steps.generate.cache import CachedGenerator
from hydra_ray.steps.generate.endpoint.dialect_file import DialectFile
from hydra_ray.steps.generate.limits import BudgetedGenerator

# Everything that a dialect may be about is in it.
TURNS = (
    Message("system", "Be brief."),
    Message("developer", "Be kind."),
    Message("user", "Hello?"),
    Message("user", "Are you there?"),
    Message("assistant", "Yes."),
    Message("system", "Be quick."),
    Message("user", "And now?"),
)
ASKED = ChatRequest(TURNS, n=4, temperature=0.7, max_tokens=32, seed=5)


@contextlib.asynccontextmanager
async def asking(url, *, budget=None, cache=None, file=None, model="m", **options):
    """The generator as commands make it."""
    known = DialectFile(file)
    bare = openai_generator(model, [endpoint_at(url, "HYDRA_TEST_NO_KEY")], **{"retries": 0, "known": known, **options})
    limited = BudgetedGenerator(bare, budget or budget_of())
    split = splitting(limited, bare.most_samples, cache, "m")
    generator = CachedGenerator(split, cache, "m") if cache else split
    yield generator
    await generator.close()
