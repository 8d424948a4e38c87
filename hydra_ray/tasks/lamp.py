"""LaMP's tasks (arXiv 2304.11406): templates and fields as section 3.1 of that paper gives them.

Instruction and labels are read from the data itself (`Task.from_input`), since data sets in LaMP's
format have label lists of their own.
"""

from hydra_ray.tasks.base import Task

LAMP_TASKS = (
    Task(
        name="LaMP_2N",
        kind="classification",
        marker="article:",
        input_field="text",
        output_field="category",
        context_field="title",
        labels_marker="categories:",
        max_tokens=16,
    ),
    Task(
        name="LaMP_2M",
        kind="classification",
        marker="description:",
        input_field="description",
        output_field="tag",
        labels_marker="tags:",
        max_tokens=16,
    ),
    Task(
        name="LaMP_3",
        kind="rating",
        marker="review:",
        input_field="text",
        output_field="score",
        labels=("1", "2", "3", "4", "5"),
        max_tokens=4,
    ),
    Task(
        name="LaMP_4",
        kind="generation",
        marker="article:",
        input_field="text",
        output_field="title",
        max_tokens=40,
    ),
    Task(
        name="LaMP_5",
        kind="generation",
        marker="paper:",
        input_field="abstract",
        output_field="title",
        max_tokens=48,
    ),
)
