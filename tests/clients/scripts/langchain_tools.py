"""The `langchain-openai` package, where it binds tools."""

from cases import URL, tell
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url=URL, api_key="none", model="hydra", model_kwargs={"user": "ann"})


def weather(city: str) -> int:
    """Say how warm a city is.

    Args:
        city: Name of the city.
    """
    return 21


def tools():
    """A call, and the answer to its result."""
    bound, asked = model.bind_tools([weather]), HumanMessage("LangChain, how warm is Paris?")
    called = bound.invoke([asked])
    (call,) = called.tool_calls
    answer = bound.invoke([asked, called, ToolMessage("21 degrees", tool_call_id=call["id"])])
    return {"name": call["name"], "arguments": call["args"], "answer": answer.content}


tell(tools)
