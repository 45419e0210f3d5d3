"""Which recorded value a recorded gradient belongs to.

In 01 every number has its gradient in it. In 02 a gradient is a value with a name: in the function NAME_backward, dq is
the gradient of NAME's q. Which call of NAME it belongs to is known by the object that NAME returned beside its result
and that NAME_backward was given.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from .trace import Noted, Running

ByName = dict[str, list[Noted]]  # a name's values in a call, each as it was in the end


def read_objects(noted: Iterable[Noted]) -> None:
    """Take gradients from the numbers that have theirs in them. To be done before the optimizer sets them back to 0."""
    for value in noted:
        if value.objects:
            value.grad = np.array([number.grad for number in value.objects]).reshape(value.array.shape)


def connect(noted: list[Noted], calls: list[Running]) -> None:
    """Give values the gradients that have a name of their own.

    By name first: dq with q. Then by 02's rule that NAME_backward takes the gradient of NAME's result and returns that
    of its input. An object may have several names, and all of them have its gradient.
    """
    values = by_call(noted)
    found: dict[int, Noted] = {}  # by the object that it is the gradient of
    pairs = [(call.forward, call) for call in calls if call.forward]
    for forward, backward in pairs:
        for value, grad in same_names(values[forward], values[backward]):
            found.setdefault(id(value.held), grad)
    names = {id(value.held): value for value in reversed(noted) if not value.argument}
    for forward, backward in pairs:
        given, taken = first_argument(forward, values[forward]), first_argument(backward, values[backward])
        if taken and taken.name.startswith("d"):
            found.setdefault(id(forward.result), taken)
        if given and id(backward.result) in names:
            found.setdefault(id(given.held), names[id(backward.result)])
    for value in noted:
        its = found.get(id(value.held))
        if value.grad is None and its and its.array.shape == value.array.shape:
            value.grad, value.grad_from = its.array, its


def by_call(noted: list[Noted]) -> dict[Running, ByName]:
    last: dict[tuple[Running, str, int], Noted] = {}
    for value in noted:
        last[value.running, value.name, value.nth] = value
    values: dict[Running, ByName] = defaultdict(lambda: defaultdict(list))
    for (running, name, _), value in last.items():
        if not value.weight and not value.turn:
            values[running][name].append(value)
    return values


def same_names(forward: ByName, backward: ByName) -> Iterator[tuple[Noted, Noted]]:
    """Yield each value with its gradient: dx with x. The last x comes first on the way back, so they pair in reverse.

    Where a name has more values than gradients, the last gradient is that of all that are left: attn_scores before the
    mask and after it, logits before the largest is subtracted and after it.
    """
    for name, grads in backward.items():
        values = forward.get(name[1:], []) if name.startswith("d") else []
        for shape in {grad.array.shape for grad in grads}:
            ahead = [value for value in values if value.array.shape == shape]
            back = [grad for grad in grads if grad.array.shape == shape]
            back += [back[-1]] * (len(ahead) - len(back))
            yield from zip(reversed(ahead), back)


def first_argument(call: Running, values: ByName) -> Noted | None:
    given = [value for value in values.get(call.arguments[0], []) if value.argument] if call.arguments else []
    return given[0] if given else None
