"""The `langchain-openai` package."""

from cases import URL, tell
from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url=URL, api_key="none", model="hydra", stream_usage=True).bind(user="ann")


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


def asked_again():
    return model.invoke("LangChain, are you (busy)?").content


tell(invoked, asynchronous, streamed, batched, asked_again)
