"""The `litellm` package, asking hydra-ray itself."""

import litellm
from cases import URL, said, tell

asked = {"model": "openai/hydra", "api_base": URL, "api_key": "none"}
# It leaves `user` out for models that it does not know, unless it is told not to.
by_ann = {**asked, "user": "ann", "allowed_openai_params": ["user"]}


def whole():
    return litellm.completion(messages=said("LiteLLM?"), **by_ann).model_dump()


async def asynchronous():
    reply = await litellm.acompletion(messages=said("LiteLLM async?"), **by_ann)
    return reply.choices[0].message.content


def streamed():
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return [chunk.model_dump() for chunk in litellm.completion(messages=said("LiteLLM stream?"), **by_ann, **options)]


def nobody():
    """What becomes of `user` where litellm is told nothing."""
    return litellm.completion(messages=said("LiteLLM, who?"), user="ann", **asked).model_dump()


def errors():
    try:
        litellm.completion(messages=said("x"), **{**asked, "model": "openai/gpt"})
    except litellm.NotFoundError as error:
        return [error.status_code, str(error)]
    return None


def asked_again():
    reply = litellm.completion(messages=said("LiteLLM, are you (busy)?"), num_retries=2, **by_ann)
    return reply.choices[0].message.content


tell(whole, asynchronous, streamed, nobody, errors, asked_again)
