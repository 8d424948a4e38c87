"""The tasks by name. A new task is one file with its `Task` and one line here."""

from hydra_ray.tasks.base import Kind, Task
from hydra_ray.tasks.demo import DEMO_TASK
from hydra_ray.tasks.lamp import LAMP_TASKS

# "text" is free text in, free text out; settings give it an instruction and labels (see docs/data.md).
TEXT_TASK = Task(name="text", kind="generation")

TASKS: dict[str, Task] = {task.name: task for task in (*LAMP_TASKS, DEMO_TASK, TEXT_TASK)}

__all__ = ["TASKS", "TEXT_TASK", "Kind", "Task"]
