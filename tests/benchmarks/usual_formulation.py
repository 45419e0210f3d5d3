"""How much faster is 01 than the usual formulation of microGPT? Standard library only.

`python3 tests/benchmarks/usual_formulation.py [steps]` trains the lesson as it is, and again with its arithmetic
replaced by the usual one: a node for every product and every sum, and a recursive topological sort before each backward
pass. The two take turns, so that a machine that slows down slows down both. The losses must agree.
"""

import importlib.util
import math
import multiprocessing
import random
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3


def load_lesson(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "01_pure_python" / "microgpt.py")
    lesson = importlib.util.module_from_spec(spec)
    sys.modules[name] = lesson
    spec.loader.exec_module(lesson)
    return lesson


class Value:
    """One scalar operation, as micrograd and microGPT build it."""

    def __init__(self, data, children=(), local_grads=()):
        self.data, self.grad = data, 0.0
        self.children, self.local_grads = children, local_grads

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1, 1))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent):
        return Value(self.data**exponent, (self,), (exponent * self.data ** (exponent - 1),))

    def log(self):
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def exp(self):
        return Value(math.exp(self.data), (self,), (math.exp(self.data),))

    def relu(self):
        return Value(max(0, self.data), (self,), (float(self.data > 0),))

    def relu_squared(self):
        return self.relu() ** 2


def add(values):
    total = Value(0.0)
    for value in values:
        total = total + value
    return total


def dot(a, b):
    return add([ai * bi for ai, bi in zip(a, b)])


def cross_entropy(lesson):
    return lambda logits, target: lesson.softmax(logits)[target].log() * -1


def backward(loss):
    order, visited = [], set()

    def visit(node):
        if node not in visited:
            visited.add(node)
            for child in node.children:
                visit(child)
            order.append(node)

    visit(loss)
    loss.grad = 1
    for node in reversed(order):
        for child, local_grad in zip(node.children, node.local_grads):
            child.grad += local_grad * node.grad


def usual_lesson():
    lesson = load_lesson("usual_lesson")
    lesson.Value, lesson.add, lesson.dot, lesson.backward = Value, add, dot, backward
    lesson.cross_entropy = cross_entropy(lesson)
    sys.setrecursionlimit(1_000_000)
    return lesson


def train(formulation, steps):
    """Return each step's loss and seconds."""
    lesson = load_lesson("lesson") if formulation == "01" else usual_lesson()
    config = lesson.CONFIG
    rng = random.Random(config.seed)
    docs = lesson.load_docs(ROOT / "data" / "names.txt", rng)
    tokenizer = lesson.Tokenizer(docs)
    state = lesson.State(lesson.init_params(config, tokenizer.vocab_size, rng))
    losses, seconds = [], []
    for step in range(steps):
        batch = [tokenizer.encode(docs[step])[: config.block_size + 1]]
        began = time.perf_counter()
        losses.append(lesson.train_step(state, batch, config))
        seconds.append(time.perf_counter() - began)
    return losses, seconds


def main():
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    losses, seconds = {}, {"01": [], "usual": []}
    # A process of its own for each turn: the garbage collector must not walk one's graph on the other's time.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for _ in range(ROUNDS):
            for name in seconds:
                losses[name], taken = pool.apply(train, (name, steps))
                seconds[name] += taken
    medians = {name: statistics.median(taken) * 1e3 for name, taken in seconds.items()}
    for name, median in medians.items():
        print(f"{name:5s} {median:7.2f} ms a step, last loss {losses[name][-1]:.12f}")
    print(f"{medians['usual'] / medians['01']:.1f} times faster")
    print(f"largest difference of a loss: {max(abs(a - b) for a, b in zip(losses['01'], losses['usual'])):.1e}")


if __name__ == "__main__":
    main()
