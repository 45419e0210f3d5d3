"""Figures of the chapter on training: the loss of every step, and that of documents that are never trained on."""

import ast
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from microgpt_harness.system.errors import UserError
from microgpt_harness.tools.mistakes import Mistake, apply

from ..lessons import Lesson
from ..material import REFERENCE, Material
from .averages import count_of_last, smooth
from .beginning import batches, begin, cut
from .optimizer import short

UNSEEN = 320  # documents that training never comes to, for measuring


def figures(made: Material, functions: ModuleType, batched: Lesson, no_decay: Mistake) -> SimpleNamespace:
    """Return all figures that the chapter's text takes, by name.

    `functions` are those of the recorded lesson, `batched` is a lesson with larger batches, and `no_decay` the mistake
    in the recorded one that leaves the learning rate as it is.
    """
    config, docs = functions.CONFIG, begin(functions).docs
    losses = list(made.training.losses)
    document, _ = next(iter(made.recordings))
    by_loss = hardest(made, functions)
    last = unseen(made, functions)
    return SimpleNamespace(
        course=course(made, functions),
        steps=len(losses),
        every=max(1, len(losses) // 10),
        late_steps=count_of_last(losses),
        documents=len(docs),
        seen=min(len(docs), config.num_steps * config.batch_size),
        hardest=by_loss,
        easiest=by_loss[::-1],
        unseen=last,
        unseen_count=len(next(iter(last.values()))),
        unseen_without_decay=losses_of(functions, train_with(made, functions, no_decay)),
        larger_batch=default_batch(batched),
        document=document,
        course_of_document=[(step, made.recordings[document, step].loss) for step in sorted(last)],
        jump=largest_jump(made, functions),
    )


def course(made: Material, functions: ModuleType) -> dict[str, Any]:
    """Return what the page draws: each step's documents, loss, smoothed loss and learning rate."""
    training = made.training
    return {
        "names": [", ".join(batch) for batch in batches(functions)],
        "losses": short(training.losses),
        "smooth": short(smooth(list(training.losses))),
        "rates": short(training.learning_rates),
        "printed": training.printed[: len(training.losses)],
    }


def for_page(course: dict[str, Any]) -> dict[str, Any]:
    """Return what web/widgets/steps.js draws of the training."""
    losses = [
        {"name": "loss", "values": course["losses"], "first": 1, "quiet": True},
        {"name": "loss, smoothed", "values": course["smooth"], "first": 1},
    ]
    rates = [{"name": "learning rate", "values": course["rates"], "first": 1}]
    return {
        "label": "",
        "title": "",
        "pictures": [
            {
                "x": "step",
                "y": "",
                "caption": "The loss of each step, before its weights moved, in nats a token.",
                "curves": losses,
            },
            {"x": "step", "caption": "The learning rate of each step.", "curves": rates},
        ],
        "facts": [["saw", course["names"]]],
    }


def default_batch(lesson: Lesson) -> int:
    """Return how many documents a lesson takes in a step, where its CONFIG says another number than Config."""
    for node in ast.parse(lesson.source).body:
        if (
            isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "CONFIG"
            and isinstance(node.value, ast.Call)
        ):
            sizes = [keyword.value for keyword in node.value.keywords if keyword.arg == "batch_size"]
            if sizes and isinstance(sizes[0], ast.Constant):
                return int(sizes[0].value)
    raise UserError(f"{lesson.path}: CONFIG has no batch_size of its own")


def unseen(made: Material, functions: ModuleType) -> dict[int, list[float]]:
    """Return by moment of training the losses of documents that training never comes to."""
    return {step: losses_of(functions, params) for step, params in sorted(made.training.states.items())}


def losses_of(functions: ModuleType, params: dict[str, np.ndarray], docs: list[str] | None = None) -> list[float]:
    """Return the losses of documents, by default of the first that training does not come to."""
    config, start = functions.CONFIG, begin(functions)
    seen = config.num_steps * config.batch_size
    tokens = [cut(functions, start.tokenizer, doc) for doc in docs or start.docs[seen : seen + UNSEEN]]
    return [float(functions.loss_fn(params, doc, len(doc) - 1, config)[0]) for doc in tokens]


def train_with(made: Material, functions: ModuleType, mistake: Mistake) -> dict[str, np.ndarray]:
    """Return the weights that the recorded lesson ends with if it has a known mistake."""
    lesson = made.lesson(REFERENCE)
    changed: dict[str, Any] = {"__name__": "changed", "__file__": str(lesson.path)}
    exec(compile(apply(lesson.source, mistake.edits), str(lesson.path), "exec"), changed)
    start = begin(functions)
    state = changed["State"](start.params)
    for names in batches(functions):
        changed["train_step"](state, [cut(functions, start.tokenizer, name) for name in names], functions.CONFIG)
    return {name: np.array(matrix) for name, matrix in state.params.items()}


def largest_jump(made: Material, functions: ModuleType) -> dict[str, Any]:
    """Return where the loss rises most from one step to the next, in the last steps, and at which names.

    `step` is the one before the rise. `end_before` and `end_after` are the losses of the two names with the trained
    weights.
    """
    losses, names = list(made.training.losses), batches(functions)
    rises = np.diff(losses)[-count_of_last(losses) :]
    step = len(losses) - len(rises) + int(rises.argmax())  # counted from 1: the one before the rise
    trained = made.training.states[max(made.training.states)]
    before, after = names[step - 1], names[step]
    return {
        "step": step,
        "before": losses[step - 1],
        "after": losses[step],
        "name_before": ", ".join(before),
        "name_after": ", ".join(after),
        "end_before": float(np.mean(losses_of(functions, trained, before))),
        "end_after": float(np.mean(losses_of(functions, trained, after))),
    }


def spread(losses: list[float], together: int = 1) -> float:
    """Return the standard deviation of the means of as many losses together."""
    n = len(losses) // together * together
    return float(np.std(np.reshape(losses[:n], (-1, together)).mean(axis=1)))


def hardest(made: Material, functions: ModuleType) -> list[tuple[int, str, float]]:
    """Return the steps of the last steps by their losses, the largest first: step, documents, loss."""
    losses = made.training.losses
    steps = [(step + 1, ", ".join(names), losses[step]) for step, names in enumerate(batches(functions))]
    return sorted(steps[-count_of_last(losses) :], key=lambda step: -step[2])
