"""Tasks whose answers are free text of no fixed form: plain text, reviews, conversation."""

from hydra_ray.tasks.base import Task

# Free text in, free text out; settings give it an instruction and labels (see docs/data.md).
TEXT_TASK = Task(name="text", kind="generation")

# Review writing as in DPL (arXiv 2503.02450): item, rating and the review's title are given.
REVIEW_TASK = Task(
    name="review",
    kind="generation",
    instruction=(
        "Write the review that this person would write of the item below, with the given rating and review title. "
        "Answer with the text of the review only."
    ),
    max_tokens=512,
)

# Who speaks in a conversation, by OpenAI's names; messages of tools mean nothing without the calls they answer.
ROLES = ("system", "developer", "user", "assistant")

# The client's own messages are the whole prompt.
CHAT_TASK = Task(name="chat", kind="generation", max_tokens=512, conversation=True)
