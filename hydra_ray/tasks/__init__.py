"""The tasks by name. A new task is one file with its `Task` and one line here."""

from hydra_ray.tasks.base import Kind, Task
from hydra_ray.tasks.demo import DEMO_TASK
from hydra_ray.tasks.free import CHAT_TASK, REVIEW_TASK, TEXT_TASK
from hydra_ray.tasks.lamp import LAMP_TASKS

TASKS: dict[str, Task] = {task.name: task for task in (*LAMP_TASKS, DEMO_TASK, TEXT_TASK, REVIEW_TASK, CHAT_TASK)}

__all__ = ["CHAT_TASK", "REVIEW_TASK", "TASKS", "TEXT_TASK", "Kind", "Task"]
