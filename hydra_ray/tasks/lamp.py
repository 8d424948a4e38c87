"""LaMP's tasks (arXiv 2304.11406): templates and fields as that paper and its code give them.

Instruction and labels are read from the data itself (`Task.from_input`), since data sets in LaMP's
format have label lists of their own. Items are retrieved by what LaMP's own rankers read, so what a
task answers with (a headline) is among it where LaMP has it there.
"""

from hydra_ray.tasks.base import Task

LAMP_TASKS = (
    # A question is one sentence around the paper's title. All that follows the word "title" is the query's
    # own text, and the author's other titles are told right after that word, as LaMP has them.
    Task(
        name="LaMP_1",
        kind="classification",
        marker="title",
        input_field="abstract",
        output_field="title",
        context_field="title",
        labels=("[1]", "[2]"),
        max_tokens=8,
        history_template="{head}, and {items} {text}",
    ),
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
        context_field="title",
        max_tokens=40,
    ),
    Task(
        name="LaMP_5",
        kind="generation",
        marker="paper:",
        input_field="abstract",
        output_field="title",
        context_field="title",
        max_tokens=48,
    ),
    Task(
        name="LaMP_6",
        kind="generation",
        marker="email:",
        input_field="text",
        output_field="title",
        max_tokens=40,
    ),
    # A tweet answers nothing: it is what there is to retrieve by and to learn from.
    Task(
        name="LaMP_7",
        kind="generation",
        marker="it:",
        input_field="text",
        output_field="text",
        max_tokens=64,
        history_template="{items} are written by a person. Following the given patterns {head} {text}",
    ),
)
