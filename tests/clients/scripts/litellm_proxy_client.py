"""The `openai` package asks LiteLLM's proxy, which asks hydra-ray."""

import os

from cases import said, tell
from openai import NotFoundError, OpenAI

client = OpenAI(base_url=os.environ["PROXY_URL"], api_key=os.environ["LITELLM_MASTER_KEY"])


def whole():
    return client.chat.completions.create(model="hydra", user="ann", messages=said("Proxy?")).model_dump()


def streamed():
    options = {"stream": True, "stream_options": {"include_usage": True}}
    stream = client.chat.completions.create(model="hydra", user="ann", messages=said("Proxy stream?"), **options)
    return [chunk.model_dump() for chunk in stream]


def by_another_method():
    more = {"hydra": {"method": "rag"}}
    reply = client.chat.completions.create(model="hydra", user="ann", messages=said("Proxy, by rag?"), extra_body=more)
    return reply.model_dump()


def errors():
    try:
        client.chat.completions.create(model="hydra@gone", messages=said("x"))
    except NotFoundError as error:
        return [error.status_code, error.message]
    return None


tell(whole, streamed, by_another_method, errors)
