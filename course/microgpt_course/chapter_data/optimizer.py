"""Figures of the chapter on the optimizer: single weights over a whole training, by Adam and by plain descent."""

from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from markupsafe import Markup

from .. import mathml
from ..material import Material
from .averages import count_of_last, mean_of_last
from .beginning import batches, begin, cut
from .gradients import Place

DIGITS = 4  # of the numbers in curves: more are not to be seen
STEPS_SHOWN = 6  # of one weight
TIMES = (0.1, 0.3, 1, 3, 10, 30, 100)  # the lesson's learning rate, in the trainings that are compared


def figures(made: Material, functions: ModuleType) -> SimpleNamespace:
    """Return all figures that the chapter's text takes, by name. `functions` are those of the recorded lesson."""
    vocabulary = next(iter(made.recordings.values())).vocabulary
    descents = {times: descend(made, functions, times) for times in TIMES}
    plain = min((run for run in descents.values() if run["complete"]), key=lambda run: run["late_loss"])
    place = chosen(made)[0]
    losses = list(made.training.losses)
    weights = courses(made, vocabulary, plain)
    return SimpleNamespace(
        place=place,
        label=place.label(vocabulary),
        moves=moves(made, functions.CONFIG, place, STEPS_SHOWN),
        courses=weights,
        for_page=[for_page(course, plain["times"] * functions.CONFIG.learning_rate) for course in weights],
        compared=compare(made, functions, descents),
        plain=plain,
        usual=usual_gradients(made),
        moved=moved_by_adam(made),
        first_moves=first_moves(made),
        idle=int((at(made.training.grads, chosen(made)[-1]) == 0).sum()),
        steps=len(losses),
        every=max(1, len(losses) // 10),
        late_loss=mean_of_last(losses),
        late_steps=count_of_last(losses),
    )


def compare(made: Material, functions: ModuleType, descents: dict[float, Any]) -> list[dict[str, Any]]:
    """Return by learning rate how trainings by Adam and by plain descent end: their mean loss over the last steps."""
    config = functions.CONFIG
    return [
        {
            "rate": times * config.learning_rate,
            "adam": mean_of_last(train(functions, replace(config, learning_rate=times * config.learning_rate))),
            "plain": descent["late_loss"],
            "steps": len(descent["losses"]),
        }
        for times, descent in descents.items()
    ]


def train(functions: ModuleType, config: Any) -> list[float]:
    """Return the losses of a training by the lesson's own train_step."""
    start = begin(functions)
    state = functions.State(start.params)
    losses = []
    for docs in batches(functions):
        batch = [cut(functions, start.tokenizer, doc) for doc in docs]
        losses.append(float(functions.train_step(state, batch, config)))
    return losses


def chosen(made: Material) -> list[Place]:
    """Return in each matrix the weight that moved farthest, and in wte also the one of those that move least often."""
    paths, grads = made.training.paths, made.training.grads
    farthest = [farthest_in(name, np.abs(path[-1] - path[0])) for name, path in paths.items()]
    used = (grads["wte"] != 0).any(axis=2).sum(axis=0)  # steps in which a token got a gradient
    rare = int(np.where(used > 0, used, np.inf).argmin())
    column = int(np.abs(grads["wte"][:, rare]).sum(axis=0).argmax())
    return [*farthest, Place("wte", rare, column)]


def farthest_in(name: str, moved: np.ndarray) -> Place:
    return Place(name, *map(int, np.unravel_index(moved.argmax(), moved.shape)))


def courses(made: Material, vocabulary: list[str], descent: dict[str, Any]) -> list[dict[str, Any]]:
    """Return for each chosen weight its gradient, Adam's means and its path at every step, and its path by descent."""
    training = made.training
    return [
        {
            "label": place.label(vocabulary),
            "grads": short(at(training.grads, place)),
            "m": short(at(training.adam_m, place)),
            "v": short(at(training.adam_v, place)),
            "path": short(at(training.paths, place)),
            "moved": short(np.diff(at(training.paths, place))),
            "descent": short(path),
        }
        for place, path in zip(chosen(made), descent["paths"], strict=True)
    ]


def for_page(course: dict[str, Any], rate: float) -> dict[str, Any]:
    """Return what web/widgets/steps.js draws of a weight's course."""
    seen = [
        {"name": "gradient", "values": course["grads"], "first": 1, "quiet": True},
        {"name": "m, the mean of gradients", "values": course["m"], "first": 1},
        {"name": "the root of v, the mean of squares", "values": short(np.sqrt(course["v"])), "first": 1},
    ]
    paths = [
        {"name": "weight, by Adam", "values": course["path"], "first": 0},
        {"name": "weight, by plain descent", "values": course["descent"], "first": 0},
    ]
    compared = f"The weight in the recorded training, and in one by plain descent, at a rate of {rate:g} at first."
    return {
        "label": course["label"].partition(", column")[0],
        "title": course["label"],
        "pictures": [
            {
                "x": "step",
                "y": "",
                "caption": "Each step's gradient, and the means after it.",
                "curves": seen,
            },
            {"x": "steps taken", "caption": compared, "curves": paths},
        ],
        "facts": [["moved by", course["moved"]]],
    }


def at(matrices: dict[str, np.ndarray], place: Place) -> np.ndarray:
    """Return one weight's numbers at every step, from arrays (steps, out, in)."""
    return matrices[place.matrix][:, place.row, place.column]


def short(numbers: Any) -> list[float]:
    return [float(f"{number:.{DIGITS}g}") for number in numbers]


def descend(made: Material, functions: ModuleType, times: float) -> dict[str, Any]:
    """Train as the lesson does, but by plain descent: w -= times · learning rate · gradient, with no memory.

    Return the loss of every step, the paths of the chosen weights, and how far each matrix's weights moved on average.
    It ends early where the loss is no number any more.
    """
    config, start = functions.CONFIG, begin(functions)
    state = functions.State(start.params)
    places = chosen(made)
    losses: list[float] = []
    paths = [[weight_at(state, place)] for place in places]
    for step, docs in enumerate(batches(functions)):
        with np.errstate(all="ignore"):  # far too large a learning rate overflows: that is what there is to see
            loss = loss_and_grads(functions, state, [cut(functions, start.tokenizer, doc) for doc in docs])
        if not np.isfinite(loss):
            break
        losses.append(loss)
        state.params.vector -= times * made.training.learning_rates[step] * state.grads.vector
        for place, path in zip(places, paths, strict=True):
            path.append(weight_at(state, place))
    moved = {name: mean_distance(rows, state.params[name]) for name, rows in start.params.items()}
    complete = len(losses) == config.num_steps
    late_loss = mean_of_last(losses) if complete else None
    return {
        "times": times,
        "losses": losses,
        "paths": paths,
        "moved": moved,
        "complete": complete,
        "late_loss": late_loss,
    }


def weight_at(state: Any, place: Place) -> float:
    return float(state.params[place.matrix][place.row, place.column])


def mean_distance(before: Any, after: Any) -> float:
    return float(np.abs(np.asarray(after) - np.asarray(before)).mean())


def moved_by_adam(made: Material) -> dict[str, float]:
    """Return for each matrix how far its weights moved on average, from the first step to the last."""
    return {name: mean_distance(path[0], path[-1]) for name, path in made.training.paths.items()}


def first_moves(made: Material) -> np.ndarray:
    """Return how far the first step moved each weight that had a gradient."""
    grads, paths = made.training.grads, made.training.paths
    moved = [np.abs(paths[name][1] - paths[name][0])[grad[0] != 0] for name, grad in grads.items()]
    return np.concatenate(moved)


def loss_and_grads(functions: ModuleType, state: Any, batch: list[list[int]]) -> float:
    """Return a batch's mean loss, and leave its gradients in the state: train_step without its last move."""
    n_tokens = sum(len(doc) - 1 for doc in batch)
    state.grads.vector[:] = 0.0
    batch_loss = 0.0
    for doc in batch:
        loss, saved = functions.loss_fn(state.params, doc, n_tokens, functions.CONFIG)
        functions.backward(saved, state.params, state.grads, functions.CONFIG)
        batch_loss += float(loss)
    return batch_loss


def moves(made: Material, config: Any, place: Place, steps: int) -> list[dict[str, float]]:
    """Return what Adam does with a weight in the first steps: recorded numbers, and the two that follow from them."""
    training = made.training
    rows = []
    for step in range(steps):
        m, v = at(training.adam_m, place)[step], at(training.adam_v, place)[step]
        path = at(training.paths, place)
        rows.append(
            {
                "step": step + 1,
                "grad": at(training.grads, place)[step],
                "m": m,
                "v": v,
                "m_hat": m / (1 - config.beta1 ** (step + 1)),
                "root": np.sqrt(v / (1 - config.beta2 ** (step + 1))),
                "learning_rate": training.learning_rates[step],
                "moved": path[step + 1] - path[step],
            }
        )
    return rows


def usual_gradients(made: Material) -> dict[str, float]:
    """Return for each matrix the usual size of a gradient: the root of the mean square over all steps and weights."""
    return {name: float(np.sqrt(np.square(grads).mean())) for name, grads in made.training.grads.items()}


def step_formula() -> Markup:
    """Return how Adam moves a weight, as a formula."""
    size = mathml.row(mathml.root(mathml.hat("v")), "+ ε")
    return mathml.math("w ← w - rate ·", mathml.frac(mathml.hat("m"), size))
