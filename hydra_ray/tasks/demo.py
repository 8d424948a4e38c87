"""The demo's task: which of a film's moods would this person name it after?"""

from hydra_ray.tasks.base import Task

DEMO_LABELS = (
    "funny",
    "scary",
    "romantic",
    "sad",
    "violent",
    "magical",
    "futuristic",
    "historical",
    "musical",
    "mysterious",
    "inspiring",
    "childlike",
)

DEMO_TASK = Task(
    name="demo",
    kind="classification",
    instruction="In one word, what kind of film is this?",
    marker="plot:",
    labels=DEMO_LABELS,
    max_tokens=4,
)
