"""What tests of endpoints ask, and with which key."""

from dataclasses import replace

import pytest

from hydra_ray.records import ChatRequest, Message
from hydra_ray.steps.generate import GenerateError

KEY = "sk-secret-7f3a"
REQUEST = ChatRequest((Message("user", "Which tag?"), Message("assistant", "drama")), max_tokens=8, seed=3)
TWO = replace(REQUEST, n=2)


async def refused(generator):
    with pytest.raises(GenerateError) as caught:
        await generator(REQUEST)
    return str(caught.value)


def request(text="hello"):
    return ChatRequest((Message("user", text),))


async def failure(generator, text="hello"):
    with pytest.raises(GenerateError) as caught:
        await generator(request(text))
    return caught.value
