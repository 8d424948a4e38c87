"""The `openai` package for Python, where it asks for what only the LLM can answer: tools, images."""

import json

from cases import URL, said, tell
from openai import OpenAI

client = OpenAI(base_url=URL, api_key="none")

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Says how warm a city is.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def tools():
    """A call, and the answer to its result."""
    asked = said("Python, how warm is Paris?")
    first = client.chat.completions.create(model="hydra", user="ann", messages=asked, tools=[WEATHER])
    (call,) = first.choices[0].message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}
    messages = [*asked, first.choices[0].message, result]
    second = client.chat.completions.create(model="hydra", user="ann", messages=messages, tools=[WEATHER])
    return {
        "finish": first.choices[0].finish_reason,
        "arguments": json.loads(call.function.arguments),
        "hydra": first.hydra,
        "answer": second.choices[0].message.content,
    }


def streamed_tools():
    """The helper that puts a call together out of its pieces."""
    with client.chat.completions.stream(
        model="hydra", user="ann", messages=said("Python, how warm is it there?"), tools=[WEATHER]
    ) as stream:
        for _ in stream:
            pass
    choice = stream.get_final_completion().choices[0]
    return {"finish": choice.finish_reason, "arguments": json.loads(choice.message.tool_calls[0].function.arguments)}


def picture():
    """A part that is no text."""
    parts = [
        {"type": "text", "text": "Python, what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    reply = client.chat.completions.create(model="hydra", user="ann", messages=[{"role": "user", "content": parts}])
    return {"answer": reply.choices[0].message.content, "hydra": reply.hydra}


tell(tools, streamed_tools, picture)
