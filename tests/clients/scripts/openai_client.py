"""The `openai` package for Python."""

import openai
from cases import URL, said, tell
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

client = OpenAI(base_url=URL, api_key="none")


def whole():
    reply = client.chat.completions.create(model="hydra", user="ann", messages=said("Python, is lunch at one?"))
    return reply.model_dump()


async def asynchronous():
    async with AsyncOpenAI(base_url=URL, api_key="none") as client:
        reply = await client.chat.completions.create(model="hydra", user="ann", messages=said("Python async?"))
        stream = await client.chat.completions.create(
            model="hydra", user="ann", messages=said("Python async stream?"), stream=True
        )
        texts = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    return {"reply": reply.model_dump(), "streamed": "".join(texts)}


def streamed():
    stream = client.chat.completions.create(
        model="hydra",
        user="ann",
        messages=said("Python stream?"),
        stream=True,
        stream_options={"include_usage": True},
    )
    return [chunk.model_dump() for chunk in stream]


def flowing():
    """A stream that comes as the LLM speaks: with one candidate there is nothing to choose."""
    stream = client.chat.completions.create(
        model="hydra",
        user="ann",
        messages=said("Python, word by word?"),
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"hydra": {"method": "rag"}},
    )
    return [chunk.model_dump() for chunk in stream]


def accumulated():
    """The helper that puts a stream together; it wants chunks as OpenAI has them."""
    with client.chat.completions.stream(model="hydra", user="ann", messages=said("Python stream helper?")) as stream:
        kinds = [event.type for event in stream]
    return {"kinds": kinds, "reply": stream.get_final_completion().model_dump()}


def several():
    reply = client.chat.completions.create(model="hydra", user="ann", n=2, messages=said("Python, two?"))
    return [choice.message.content for choice in reply.choices]


class Weather(BaseModel):
    """What an answer of a form holds."""

    city: str
    degrees: int


def parsed():
    reply = client.chat.completions.parse(
        model="hydra", user="ann", messages=said("Python, the weather as JSON?"), response_format=Weather
    )
    return {"parsed": reply.choices[0].message.parsed.model_dump(), "hydra": reply.hydra}


def by_another_method():
    reply = client.chat.completions.create(
        model="hydra", user="ann", messages=said("Python, by rag?"), extra_body={"hydra": {"method": "rag"}}
    )
    return reply.model_dump()


def models():
    return {"list": [model.model_dump() for model in client.models.list()], "one": client.models.retrieve("hydra").id}


def errors():
    """What is raised, and what it knows."""
    wrong = {
        "no_such_model": {"model": "gpt", "messages": said("x")},
        "no_messages": {"model": "hydra", "messages": []},
        "wrong_type": {"model": "hydra", "messages": said("x"), "n": "two"},
    }
    told = {}
    for name, request in wrong.items():
        try:
            client.chat.completions.create(**request)
        except openai.APIStatusError as error:
            told[name] = [type(error).__name__, error.status_code, error.type, error.param, error.code, error.message]
    return told


def refused_at_once():
    """Without retries a 429 is raised, and says when to ask again."""
    try:
        client.with_options(max_retries=0).chat.completions.create(
            model="hydra", messages=said("Python, are you (busy) now?")
        )
    except openai.RateLimitError as error:
        return {"type": error.type, "retry_after": error.response.headers["retry-after"]}
    return None


def asked_again():
    """With the retries that the client has by default, a 429 is not seen."""
    reply = client.chat.completions.create(model="hydra", messages=said("Python, are you (busy) again?"))
    return reply.choices[0].message.content


tell(
    whole,
    asynchronous,
    streamed,
    flowing,
    accumulated,
    several,
    parsed,
    by_another_method,
    models,
    errors,
    refused_at_once,
    asked_again,
)
