"""Figures of the chapter on gradients: a small graph walked backwards, and weights that are nudged."""

import inspect
import sys
from dataclasses import dataclass
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from markupsafe import Markup

from ..code import to_lines
from ..material import Material
from ..record import Recording

FARTHEST = 1.0  # how far a weight is nudged to either side
NUDGES = 40  # of them, to both sides together
DISTANCES = [10.0**-i for i in range(1, 13)]  # of the two losses that a finite difference is made of


def figures(made: Material, explicit: ModuleType, functions: ModuleType) -> SimpleNamespace:
    """Return all figures that the chapter's text takes, by name.

    `explicit` are the functions of the lesson that computes with single numbers, `functions` those of the other one.
    """
    document, _ = next(iter(made.recordings))
    steps = sorted({step for _, step in made.recordings})
    before, after = made.recordings[document, steps[0]], made.recordings[document, steps[-1]]
    sizes_before = sizes(before)
    weights = nudged(after, functions)
    looked_up = np.flatnonzero(after.grads["wte"].any(axis=1))
    dlogits = after.find("backward", "dlogits").array
    return SimpleNamespace(
        document=document,
        vocabulary=after.vocabulary,
        rows=[after.vocabulary[token] for token in after.tokens[:-1]],
        loss=after.loss,
        weights=sum(grad.size for grad in after.grads.values()),
        graph=small_graph(explicit),
        nudged=weights,
        digits=agreeing_digits(weights[0]),
        tape=tape_of(explicit, after),
        dlogits=dlogits,
        row_sums=float(np.abs(dlogits.sum(axis=1)).max()),
        counts={name: grad.size for name, grad in after.grads.items()},
        sizes_before=sizes_before,
        sizes_after=sizes(after),
        zeros_before=[name for name, matrix in before.params.items() if not matrix.any()],
        without_gradient=[name for name, size in sizes_before.items() if size == 0],
        tokens_in_wte=len(after.grads["wte"]),
        tokens_with_gradient=[after.vocabulary[token] for token in looked_up],
    )


# A small graph, walked backwards
START = {"x": 2.0, "w": 0.5}  # chosen so that all its numbers can be checked in one's head


def small_computation(x: Any, w: Any) -> dict[str, Any]:
    product = w * x
    h = product.relu_squared()
    out = x + h
    distance = out + -1.0
    loss = distance**2
    return locals()


def small_values(functions: ModuleType, **start: float) -> dict[str, Any]:
    """Return the small computation's numbers by name, as 01's own Values make them."""
    functions.tape.clear()
    return small_computation(**{name: functions.Value(number) for name, number in {**START, **start}.items()})


def small_loss(functions: ModuleType, **start: float) -> float:
    loss = small_values(functions, **start)["loss"].data
    functions.tape.clear()
    return float(loss)


def small_code() -> Markup:
    """Return the small computation as it is run, for a chapter to show."""
    first = f"{', '.join(START)} = {', '.join(f'Value({number})' for number in START.values())}"
    body = inspect.cleandoc("\n" + "\n".join(inspect.getsource(small_computation).splitlines()[1:-1]))
    lines = "".join(f'<span class="line">{line}</span>' for line in to_lines(f"{first}\n{body}\n"))
    title = "a small computation, run when this page was built"
    block = f'<figcaption>{title}</figcaption><pre class="code plain" role="group" aria-label="{title}">{lines}</pre>'
    return Markup(f'<figure class="code-block">{block}</figure>')


@dataclass(frozen=True)
class Pass:
    """One move of backward(): `node` passes `amount`, `grad` · `rate`, on to `child`, whose gradient becomes `now`."""

    node: str
    child: str
    grad: float
    rate: float
    amount: float
    now: float


def small_graph(functions: ModuleType) -> dict[str, Any]:
    """Return the small computation as 01's own Values make it, and each move of 01's own backward() over it."""
    named = small_values(functions)
    nodes = list(functions.tape)
    names = {id(node): name for name, node in named.items()}
    edges = [(node, child, rate) for node in nodes for child, rate in zip(node.children, node.local_grads)]
    constants = [child for _, child, _ in edges if id(child) not in names]
    names |= {id(child): f"{child.data:g}".replace("-", "−") for child in constants}
    return {
        "nodes": [
            {"name": name, "value": node.data, "children": [names[id(child)] for child in node.children]}
            for name, node in [*named.items(), *((names[id(child)], child) for child in constants)]
        ],
        "edges": [{"node": names[id(node)], "child": names[id(child)], "rate": rate} for node, child, rate in edges],
        "passes": [vars(move) for move in watch(functions, named["loss"], edges, names)],
        "grads": {name: node.grad for name, node in named.items()},
    }


def watch(functions: ModuleType, loss: Any, edges: list[Any], names: dict[int, str]) -> list[Pass]:
    """Run backward() and return its moves: after each line that it runs, see which Value's gradient has changed."""
    made: list[Pass] = []
    left = list(edges)
    grads = {id(child): child.grad for _, child, _ in edges}

    def look(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not functions.backward.__code__:
            return None
        node = frame.f_locals.get("node")
        for edge in [edge for edge in left if edge[0] is node and edge[1].grad != grads[id(edge[1])]]:
            _, child, rate = edge
            amount = child.grad - grads[id(child)]
            made.append(Pass(names[id(node)], names[id(child)], node.grad, rate, amount, child.grad))
            grads[id(child)] = child.grad
            left.remove(edge)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        functions.backward(loss)
    finally:
        sys.settrace(before)
    return made


# Weights that are nudged
@dataclass(frozen=True)
class Place:
    """Where a weight stands: its matrix, row and column."""

    matrix: str
    row: int
    column: int

    def label(self, vocabulary: list[str]) -> str:
        """Return "wte, row e, column 3": a row of wte and of lm_head belongs to a token."""
        row = vocabulary[self.row] if self.matrix in ("wte", "lm_head") else self.row
        return f"{self.matrix}, row {row}, column {self.column}"


def steepest(grads: dict[str, np.ndarray]) -> list[Place]:
    """Return in each matrix the weight that the loss depends on most."""
    return [Place(name, *map(int, np.unravel_index(np.abs(grad).argmax(), grad.shape))) for name, grad in grads.items()]


def nudged(recording: Recording, functions: ModuleType) -> list[dict[str, Any]]:
    """Return for the steepest weight of each matrix the losses of a recorded document around it.

    `losses` are those at `nudges` from the weight, `quotients` the finite differences at DISTANCES to either side.
    """
    nudges = np.linspace(-FARTHEST, FARTHEST, NUDGES + 1)
    made_of = []
    for place in steepest(recording.grads):
        losses = [loss_at(functions, recording, place, nudge) for nudge in nudges]
        made_of.append(
            {
                "label": place.label(recording.vocabulary),
                "weight": recording.params[place.matrix][place.row, place.column],
                "grad": recording.grads[place.matrix][place.row, place.column],
                "nudges": nudges,
                "losses": losses,
                "distances": DISTANCES,
                "quotients": [finite_difference(functions, recording, place, distance) for distance in DISTANCES],
            }
        )
    return made_of


def finite_difference(functions: ModuleType, recording: Recording, place: Place, distance: float) -> float:
    """Return (loss(w + distance) - loss(w - distance)) / (2 · distance): the gradient, measured."""
    above = loss_at(functions, recording, place, distance)
    below = loss_at(functions, recording, place, -distance)
    return (above - below) / (2 * distance)


def loss_at(functions: ModuleType, recording: Recording, place: Place, nudge: float) -> float:
    """Return the recorded document's loss with one weight nudged."""
    weights = recording.params[place.matrix].copy()
    weights[place.row, place.column] += nudge
    params = {**recording.params, place.matrix: weights}
    loss, _ = functions.loss_fn(params, recording.tokens, len(recording.tokens) - 1, functions.CONFIG)
    return float(loss)


def agreeing_digits(weight: dict[str, Any]) -> int:
    """Return in how many digits the recorded gradient and the best finite difference agree."""
    closest = min(abs(quotient - weight["grad"]) for quotient in weight["quotients"])
    return int(-np.log10(closest / abs(weight["grad"]) or np.finfo(float).eps))


# How large gradients are, and what finding them takes
def sizes(recording: Recording) -> dict[str, float]:
    """Return for each matrix the root of the mean square of its gradients."""
    return {name: float(np.sqrt(np.square(grad).mean())) for name, grad in recording.grads.items()}


def tape_of(functions: ModuleType, recording: Recording) -> dict[str, int]:
    """Return how many Values 01 makes for a recorded document, and how many children they have together."""
    functions.tape.clear()
    state = functions.State({name: matrix.tolist() for name, matrix in recording.params.items()})
    functions.loss_fn(state.params, recording.tokens, len(recording.tokens) - 1, functions.CONFIG)
    found = {"nodes": len(functions.tape), "children": sum(len(node.children) for node in functions.tape)}
    functions.tape.clear()
    return found
