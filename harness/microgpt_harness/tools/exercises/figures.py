"""What a lesson computes at a point, stage by stage in the order in which a program computes it: all that is compared.

Numbers are float64 in every folder. A lesson is asked through its folder's engine.py, so nothing here knows frameworks.
"""

import contextlib
import io
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from ...contract import EngineModule
from . import points
from .points import Point
from .tensors import Figures, Tensor, tensor
from .tracing import Call, Trace, traced

SAMPLES = 4
LOSS_LINE = re.compile(r"step +\d+ / +\d+ \| loss (\S+)")
SAMPLE_LINE = re.compile(r"sample +\d+: (.*)")


@dataclass(frozen=True)
class Subject:
    """A lesson, right or not, behind its folder's engine.

    Where a framework compiles, `inspectable` has it run plain Python instead, and `compiling_fast` not take its time.
    """

    module: ModuleType
    engine: EngineModule
    inspectable: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    compiling_fast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    @property
    def file(self) -> str:
        return str(self.module.__file__)

    def state(self, point: Point, config: Any, under_way: bool = False) -> Any:
        """Return a state in float64 at the point: fresh, or as a run under way would have it."""
        rest: dict[str, Any] = {"dtype": "float64", "device": "cpu"}
        if under_way:
            rest |= {"adam_m": point.adam_m, "adam_v": point.adam_v, "step": points.STEPS_TAKEN}
        return self.engine.make_state(config, point.params, **rest)


@dataclass
class Stage:
    """What one stage computed: what is compared, and the calls that tell where it began to differ.

    They are noted if they are `wanted`. What is computed `once`, as each of many mistakes is, is not worth compiling.
    """

    figures: Figures = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    wanted: bool = False
    once: bool = False


@contextlib.contextmanager
def plain_python(subject: Subject, stage: Stage) -> Iterator[None]:
    """While the block runs, what the framework compiles runs as plain Python, where that is sooner or shows values."""
    with subject.inspectable() if stage.once or stage.wanted else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def noting(subject: Subject, stage: Stage) -> Iterator[None]:
    """While the block runs, note the lesson's calls: if it is ended by an exception, those up to then."""
    noted = traced(subject.file, Trace(stage.calls)) if stage.wanted else contextlib.nullcontext()
    with plain_python(subject, stage), noted:
        yield


def text_and_weights(subject: Subject, point: Point, stage: Stage) -> None:
    """Tokens, the order of documents, the weights to begin with: what the first four sections make."""
    module = subject.module
    tokenizer = module.Tokenizer(point.texts)
    # nothing but the attributes and methods that the lesson and the harness use
    stage.figures["chars"] = repr(tokenizer.chars)
    stage.figures["bos and vocab_size"] = repr((tokenizer.bos, tokenizer.vocab_size))
    for text in point.texts[:3]:
        stage.figures[f"tokens of {text!r}"] = repr(list(something("encode", tokenizer.encode(text))))
    tokens = point.batch[0][1:-1]
    stage.figures[f"text of tokens {tokens}"] = repr(something("decode", tokenizer.decode(tokens)))
    with text_file(point) as path:
        stage.figures["order of documents"] = repr(
            something("load_docs", module.load_docs(path, random.Random(point.seed)))
        )
    params = module.init_params(points.config_of(module), point.vocab_size, random.Random(point.seed))
    for name, rows in something("init_params", params).items():
        stage.figures[f"first weights of {name}"] = tensor(rows)


def logits(subject: Subject, point: Point, stage: Stage) -> None:
    config = points.config_of(subject.module)
    state = subject.state(point, config)
    longest = max(point.batch, key=len)[:-1]
    with noting(subject, stage):
        stage.figures["scores of the next token"] = tensor(subject.engine.next_logits(state, longest, config))
    for number, rows in enumerate(subject.engine.logits(state, point.batch, config), start=1):
        stage.figures[f"logits of document {number}"] = tensor(rows)


def loss(subject: Subject, point: Point, stage: Stage) -> None:
    config = points.config_of(subject.module)
    state = subject.state(point, config)
    with noting(subject, stage):
        stage.figures["loss"] = tensor(subject.engine.evaluate(state, point.batch, config))


def gradients(subject: Subject, point: Point, stage: Stage) -> None:
    config = points.config_of(subject.module)
    state = subject.state(point, config)
    with noting(subject, stage):
        found, grads = subject.engine.loss_and_grads(state, point.batch, config)
    stage.figures["loss with its gradients"] = tensor(found)
    for name in reversed(grads):  # as the gradient comes to them: the last layer first
        stage.figures[f"gradient of {name}"] = tensor(grads[name])


def first_step(subject: Subject, point: Point, stage: Stage) -> None:
    """The step in which bias correction and eps weigh most."""
    config = points.config_of(subject.module)
    take_step(subject, subject.state(point, config), point, config, stage, "")


def steps_under_way(subject: Subject, point: Point, stage: Stage) -> None:
    """Two steps, clipped, where the learning rate falls. The second tells what the first left behind."""
    config = points.config_of(subject.module, clip_grad=points.CLIP)
    state = subject.state(point, config, under_way=True)
    state = take_step(subject, state, point, config, stage, "")
    take_step(subject, state, point, config, stage, " after one more")


def take_step(subject: Subject, state: Any, point: Point, config: Any, stage: Stage, when: str) -> Any:
    with plain_python(subject, stage):
        state, losses = subject.engine.train_steps(state, [point.batch], config)
    stage.figures[f"loss of the step{when}"] = tensor(losses)
    weights, adam_m, adam_v = subject.engine.export_state(state)
    for what, tensors in (("adam_m", adam_m), ("adam_v", adam_v), ("weights", weights)):
        for name, rows in tensors.items():
            stage.figures[f"{what} of {name}{when}"] = tensor(rows)
    return state


class ReturnedNothing(Exception):
    """A function of the lesson returned None where it is to return something. Its name is all that is said."""


def something(function: str, value: Any) -> Any:
    if value is None:
        raise ReturnedNothing(function)
    return value


class NotingRandom(random.Random):
    """Notes the weights by which it is asked to choose: they say more than the choices."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.asked: list[list[float]] = []

    def choices(self, population: Any, weights: Any = None, *, cum_weights: Any = None, k: int = 1) -> Any:
        if cum_weights is not None:
            weights = [after - before for before, after in pairwise([0.0, *cum_weights])]
        plain = [float(weight) for weight in weights] if weights is not None else [1.0] * len(population)
        total = sum(plain) or 1.0
        self.asked.append([weight / total for weight in plain])
        return super().choices(population, plain, k=k)


def samples(subject: Subject, point: Point, stage: Stage) -> None:
    config = points.config_of(subject.module)
    state, bos = subject.state(point, config), point.vocab_size - 1
    for number in range(1, SAMPLES + 1):
        rng = NotingRandom(point.seed + number)
        with plain_python(subject, stage):
            tokens = something("generate", subject.module.generate(state, bos, rng, config))
        if number == 1:
            stage.figures["how tokens are drawn"] = "by rng.choices" if rng.asked else "not by rng.choices"
        if rng.asked:
            stage.figures[f"probabilities of the first token of sample {number}"] = tensor(rng.asked[0])
        stage.figures[f"tokens of sample {number}"] = repr(list(tokens))


def run_alone(subject: Subject, point: Point, stage: Stage) -> None:
    """What main prints, for a small model and a few documents."""
    module = subject.module
    before = module.CONFIG, module.NAMES
    random.seed(point.seed)  # for whoever draws from Python's own generator, where it should be the lesson's
    said = io.StringIO()
    try:
        with text_file(point) as path, contextlib.redirect_stdout(said):
            module.CONFIG, module.NAMES = replace(module.CONFIG, **points.SMALL), path  # type: ignore[attr-defined]
            module.main()
    finally:
        module.CONFIG, module.NAMES = before  # type: ignore[attr-defined]
    losses = [float(number) for number in LOSS_LINE.findall(said.getvalue())]
    stage.figures["how many losses main prints"] = str(len(losses))
    stage.figures["losses that main prints"] = Tensor((len(losses),), tuple(losses))
    stage.figures["names that main prints"] = repr(SAMPLE_LINE.findall(said.getvalue()))


@contextlib.contextmanager
def text_file(point: Point) -> Iterator[Path]:
    """While the block runs, there is a file of the point's texts, with all that a file may have besides them."""
    lines = [f"  {text}\t" if i % 5 == 0 else text for i, text in enumerate(point.texts)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.txt"
        lines += ["ab\u2028c"]  # nothing but "\n" ends a line
        path.write_text("\n\n".join(lines) + "\n \n", encoding="utf-8")
        yield path


STAGES: dict[str, Callable[[Subject, Point, Stage], None]] = {
    "tokens, documents, first weights": text_and_weights,
    "logits": logits,
    "loss": loss,
    "gradients": gradients,
    "a first step of Adam": first_step,
    "two steps under way, clipped": steps_under_way,
    "samples": samples,
    "what the file prints by itself": run_alone,
}
# The function that a stage adds to what those before it compute: if neither that nor what it uses itself, or reaches
# and no step does, is written otherwise than in the lesson, the stage is right if those before it are.
ADDS = {"samples": "generate", "what the file prints by itself": "main"}
# These stages add all that is neither model nor loss, so they are right like that only if nothing else is changed.
STEPS = {"a first step of Adam": "train_step", "two steps under way, clipped": "train_step"}
# Functions that the logits do not call, those that none of the stages in MODEL call, and those that no step calls
# either: who changes nothing else has the lesson's own numbers there.
LATER = frozenset({"adam_step", "schedule", "train_step", "generate", "main"})
AFTER_LOGITS = LATER | {"loss_fn", "loss_and_grads"}
AFTER_TRAINING = frozenset({"generate", "main"})
MODEL = ("logits", "loss", "gradients")
# What catches the mistakes that can show first in a stage (see tools/mistakes.toml): no others need be computed for it.
SHOWS_IN = {
    "tokens, documents, first weights": ("main",),
    "logits": ("point",),
    "loss": ("point", "step"),
    "gradients": ("point", "gradients", "step"),
    "a first step of Adam": ("step",),
    "two steps under way, clipped": ("step", "steps"),
    "samples": ("samples",),
    "what the file prints by itself": ("main", "steps"),
}


def compute(
    subject: Subject, point: Point, name: str, calls: bool = False, once: bool = False, stage: Stage | None = None
) -> Stage:
    """Return what one stage computes. With `calls`, the variables of the model's functions are noted as well.

    A `stage` that is passed in holds what there is when an exception ends the computation.
    """
    stage = stage or Stage()
    stage.wanted, stage.once = calls, once
    with subject.compiling_fast():
        STAGES[name](subject, point, stage)
    return stage
