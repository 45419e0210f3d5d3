"""What exercises of this folder need beside their numbers (harness/microgpt_harness/tools/exercises/subjects.py)."""

import random

from microgpt_harness.tools.exercises import points


def array(rows, lesson):
    return [array(row, lesson) for row in rows] if isinstance(rows, list) else lesson.Value(rows)


def sampling(module, engine, point):
    """Nothing of a sample may stay on the tape: its gradients are 0, so no number would tell."""
    config = points.config_of(module)
    state = engine.make_state(config, point.params)
    module.tape.clear()
    module.generate(state, point.vocab_size - 1, random.Random(1), config)
    if module.tape:
        module.tape.clear()
        return (
            "All numbers are right, but generate leaves its Values on the tape, so memory grows with every token: "
            "tape.clear() after each one takes them away."
        )
    return None
