"""What exercises of this folder need beside their numbers (harness/microgpt_harness/tools/exercises/subjects.py)."""

import contextlib
import io
from dataclasses import replace

import mlx.core as mx
from microgpt_harness.tools.exercises import figures, points
from mlx.utils import tree_flatten

ORDER = ("loss", "params", "adam_m", "adam_v", "step")  # as a step computes them


def array(rows, lesson):
    mx.set_default_device(mx.cpu)  # a GPU has no float64
    return mx.array(rows, mx.float64)


def lazy(module, engine, point):
    """When a step begins, and when sampling does, nothing of the step before may be left to compute."""
    before = {name: getattr(module, name) for name in ("loss_and_grads", "adam_step", "generate", "CONFIG", "NAMES")}
    losses = []
    left = set()

    def look(**parts):
        left.update(name for name, part in parts.items() if is_left(part))

    def loss_and_grads(*args):
        look(loss=losses[-1:])
        loss, grads = before["loss_and_grads"](*args)
        losses.append(loss)
        return loss, grads

    def adam_step(state, *others, **named):
        if len(losses) > 1:  # in the first step Adam's zeros are left, which are computed with it
            look(**state._asdict())
        return before["adam_step"](state, *others, **named)

    def generate(state, *others, **named):
        look(loss=losses[-1:], **state._asdict())
        return before["generate"](state, *others, **named)

    try:
        with figures.text_file(point) as path, contextlib.redirect_stdout(io.StringIO()):
            module.CONFIG, module.NAMES = replace(module.CONFIG, **points.SMALL), path
            module.loss_and_grads, module.adam_step, module.generate = loss_and_grads, adam_step, generate
            module.main()
    finally:
        for name, value in before.items():
            setattr(module, name, value)
    if not left:
        return None
    return (
        "All numbers are right, but not all that a step describes is computed before the next one begins. "
        f"Left over: {', '.join(sorted(left, key=ORDER.index))}."
    )


main = lazy  # this exercise takes out the same lines, and others


def is_left(part):
    """Return whether an array is still to be computed, or one in a tree of them: its graph has operations as boxes."""
    arrays = [leaf for _, leaf in tree_flatten(part) if isinstance(leaf, mx.array)]
    text = io.StringIO()
    mx.export_to_dot(text, *arrays)
    return "shape=rectangle" in text.getvalue()
