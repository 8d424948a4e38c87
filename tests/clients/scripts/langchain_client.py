"""The `langchain-openai` package."""

from cases import URL, tell
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

chat = ChatOpenAI(base_url=URL, api_key="none", model="hydra", stream_usage=True)
model = chat.bind(user="ann")


class Weather(BaseModel):
    """What an answer of a form holds."""

    city: str
    degrees: int


def invoked():
    reply = model.invoke("LangChain?")
    return {"content": reply.content, "usage": reply.usage_metadata, "about": reply.response_metadata}


async def asynchronous():
    return (await model.ainvoke([("system", "Be brief."), ("human", "LangChain async?")])).content


def streamed():
    chunks = list(model.stream("LangChain stream?"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return {"pieces": [chunk.content for chunk in chunks], "content": whole.content, "usage": whole.usage_metadata}


def batched():
    return [reply.content for reply in model.batch(["LangChain, one?", "LangChain, two?"])]


def by_schema():
    return chat.with_structured_output(Weather, method="json_schema").invoke("LangChain, by schema?").model_dump()


def by_json():
    return chat.with_structured_output(Weather, method="json_mode").invoke("LangChain, as JSON?").model_dump()


def asked_again():
    return model.invoke("LangChain, are you (busy)?").content


tell(invoked, asynchronous, streamed, batched, by_schema, by_json, asked_again)
