"""What a record may have as the user's answer."""

from __future__ import annotations

from hydra_ray.data.errors import shown
from hydra_ray.data.fields import Fields
from hydra_ray.records import is_blank
from hydra_ray.tasks import Task


def check_answer(fields: Fields, name: str, answer: str, task: Task) -> None:
    """Refuses what cannot be learnt from: a text with nothing in it, or an answer that is not among the task's.

    Args:
        fields: The record, for the place in messages.
        name: The answer's field.
        answer: The answer as it was read.
        task: Says which answers there are.

    Raises:
        RecordError: It is blank, or not among the answers.
    """
    if is_blank(answer):
        raise fields.error(f'has a blank "{name}". Write the answer that the user preferred, or leave the record out.')
    if task.closed and task.parse(answer) is None:
        raise fields.error(
            f'has "{shown(answer)}" as "{name}", which is not among the answers: {", ".join(task.labels)}.',
            f'has {"an" if name[0] in "aeiou" else "a"} "{name}" that is not among the answers',
        )
