"""What exercises of this folder need beside their numbers (harness/microgpt_harness/tools/exercises/subjects.py)."""

import contextlib
import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from microgpt_harness.tools.exercises import points

STEPS = 3  # in one call: more than tracing takes, which runs a function once or, at times, twice


def inspectable():
    """Within this context jit and scan run their functions as plain Python, so each value can be looked at."""
    return jax.disable_jit()


@contextlib.contextmanager
def compiling_fast():
    """Within this context JAX does not look for the fastest program, which would take it several times as long."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def share_model(lesson, other):
    """Let the other take compiled gradients from the lesson where it runs as plain Python: 200 calls less."""
    own, compiled = other.loss_and_grads, compiled_gradients(lesson.loss_and_grads)

    def loss_and_grads(params, batch, config):
        if not jax.config.jax_disable_jit:
            return own(params, batch, config)
        equal_config = type(lesson.CONFIG)(**dataclasses.asdict(config))  # of the same class: else it compiles anew
        with jax.disable_jit(False), compiling_fast():
            return compiled(params, batch, equal_config)

    other.loss_and_grads = loss_and_grads


@cache
def compiled_gradients(function):
    return jax.jit(function, static_argnames="config")


def prepare_extension(lesson):
    """Let the gradients be compiled: operation by operation they take ten seconds for each new shape of a batch."""
    lesson.loss_and_grads = jax.jit(lesson.loss_and_grads, static_argnames="config")


def array(rows, lesson):
    jax.config.update("jax_enable_x64", True)  # without it float64 would become float32
    return jnp.array(rows, jnp.float64)


def vmap(module, engine, point):
    """gpt is to run once for a whole batch, not once for each document."""
    config = points.config_of(module)
    state = engine.make_state(config, point.params, dtype="float64", device="cpu")
    with counting(module, "gpt") as runs:
        module.loss_fn(state.params, module.pad(point.batch, config), config)
    if runs["gpt"] > 1:
        return (
            f"All numbers are right, but for {len(point.batch)} documents gpt's Python code runs {runs['gpt']} times. "
            "jax.vmap has it run once, for all of them together."
        )
    return None


def scan(module, engine, point):
    """A step's Python code is to run while train_steps is traced, neither for each batch nor in a second call."""
    config = points.config_of(module, n_layer=1)  # compiled sooner

    def call(steps, run):
        state = engine.make_state(config, point.params, dtype="float64", device="cpu")  # a new one: it may be donated
        batches = np.stack([module.pad(point.batch, config)] * steps)
        # whoever does without train_step has to call the two that it calls
        with counting(module, "train_step", "adam_step", "loss_and_grads") as runs:
            result = run(state, batches)
        return max(runs.values()), result

    def train(state, batches):
        return module.train_steps(state, batches, config)

    first, _ = call(STEPS, train)
    if first >= STEPS:
        return (
            f"All numbers are right, but for {STEPS} batches a step's Python code runs {first} times, so what is "
            "compiled grows with the number of steps. jax.lax.scan has one step traced, and loops in compiled code."
        )
    again, _ = call(STEPS, train)
    if again:
        return (
            "All numbers are right, but when train_steps is called again with the same shapes, a step's Python code "
            "runs again: nothing compiled was kept. jax.jit keeps it if it is applied once, to train_steps itself."
        )
    operations = [str(call(steps, jax.make_jaxpr(train))[1]).count(" = ") for steps in (STEPS, STEPS + 1)]
    if operations[0] != operations[1]:
        return (
            "All numbers are right, but the loop is Python's: it calls a compiled step for each batch. "
            "jax.lax.scan makes the loop a part of what is compiled."
        )
    return None


@contextlib.contextmanager
def counting(module, *names):
    """While the block runs, count how often the Python code of a module's functions is run."""
    before = {name: getattr(module, name) for name in names}
    runs = dict.fromkeys(names, 0)

    def counted(name):
        def function(*args, **named):
            runs[name] += 1
            return before[name](*args, **named)

        return function

    for name in names:
        setattr(module, name, counted(name))
    try:
        yield runs
    finally:
        for name in names:
            setattr(module, name, before[name])
