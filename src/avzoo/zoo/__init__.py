"""The zoo as data: one row per method. Every list of methods in the project is derived from `METHODS`.

`COMPONENTS` are networks that methods need, such as a face detector. They are converted, loaded and looked up like a
method, and appear in no table of methods. `ROWS` is both.

Reading a row imports neither torch nor transformers; the classes it names are imported by [`Row.load`].
"""

from avzoo.zoo.row import License, Part, Row, Task, Variant, find_by_name
from avzoo.zoo.rows import COMPONENTS, METHODS

ROWS: tuple[Row, ...] = METHODS + COMPONENTS


def find_row(name: str) -> Row:
    """The row of the method or component called `name`.

    Raises:
        ValueError: there is none; the message lists the known ones.
    """
    return find_by_name(ROWS, name, "method")


def list_tasks() -> dict[str, Task]:
    """The tasks that have a command, by name, in the order of the methods."""
    tasks: dict[str, Task] = {}
    for row in METHODS:
        for task in row.tasks:
            if task.command is not None:
                tasks.setdefault(task.name, task)
    return tasks


def find_default_method(task: str) -> Row:
    """The method whose toy checkpoint `avzoo run` takes for a task: the first that serves it.

    Raises:
        ValueError: no method serves the task; the message lists the tasks.
    """
    for row in METHODS:
        if any(served.name == task for served in row.tasks):
            return row
    raise ValueError(f"no method serves the task {task!r}; there are: {', '.join(list_tasks())}.")


__all__ = [
    "COMPONENTS",
    "METHODS",
    "ROWS",
    "License",
    "Part",
    "Row",
    "Task",
    "Variant",
    "find_default_method",
    "find_row",
    "list_tasks",
]
