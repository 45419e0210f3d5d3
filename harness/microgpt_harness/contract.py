"""What a folder offers the harness: the same names in all of them, whatever framework is behind.

Each folder's `engine.py` offers these names for its lesson. A tensor crosses this border as rows: nested lists of
floats or a NumPy array of shape (out, in). Documents cross it as lists of token ids, BOS included, each at most
block_size + 1 long. A batch is a sequence of documents. Those of a run are a data.batches.Batch, whose `array` gives
all of it as one array of integers: an engine that computes with padded batches takes that, so that no list is made.
Any other sequence it pads as its lesson does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Rows = Any  # list[list[float]] or numpy.ndarray, shape (out, in)
Tensors = dict[str, Rows]
Document = list[int]
Batch = Sequence[Document]
PADDING = -1  # stands to the right of a shorter document in an array of a batch; it is no token


class Vocabulary(Protocol):
    """A lesson's Tokenizer. A character's token is its place in `chars`, and `bos` is the next one."""

    chars: list[str]
    token_of: dict[str, int]
    bos: int
    vocab_size: int

    def encode(self, document: str, /) -> Document:
        """Return BOS, the characters' tokens, and BOS again."""


class Lesson(Protocol):
    """What the harness takes from a folder's microgpt.py itself, where it is the same text in all of them."""

    CONFIG: Any  # the lesson's own defaults: an instance of its Config
    Tokenizer: Callable[[list[str]], Vocabulary]
    init_params: Callable[[Any, int, Any], Tensors]  # of a config, the vocabulary's size, and a random.Random's gauss


class EngineModule(Protocol):
    """What engine.py offers: one lesson at work. `state` is whatever the framework keeps its weights in.

    Where there is no memory left, a function raises MemoryError, or RuntimeError in one of the words that the module
    holds as `OUT_OF_MEMORY`; one whose framework raises nothing but MemoryError need not have them.
    """

    def make_state(
        self,
        config: Any,
        params: Tensors,
        adam_m: Tensors | None = None,
        adam_v: Tensors | None = None,
        step: int = 0,
        dtype: str = "",
        device: str = "auto",
    ) -> Any:
        """Return the state to train or sample from; moments left out are zero. `auto` is what suits small models here.

        Raises ValueError, with one line for the user, if the dtype or the device cannot be had.
        """

    def export_state(self, state: Any) -> tuple[Tensors, Tensors, Tensors]:
        """Return weights, adam_m and adam_v by name, bit for bit what `make_state` takes.

        They are in the state's dtype, or in float32 where that is for products only (run/bounds.py, DTYPES). Of several
        processes, all have to ask, and only number 0 need get them.
        """

    def train_steps(self, state: Any, batches: Sequence[Batch], config: Any) -> tuple[Any, list[float]]:
        """Take one step a batch. Return the state after them and each step's loss: the mean over its batch's tokens.

        The state passed in is used up. How many batches come in one call changes no number.
        """

    def evaluate(self, state: Any, batch: Batch, config: Any) -> float:
        """Return the mean loss over the batch's tokens and change nothing."""

    def next_logits(self, state: Any, tokens: Document, config: Any) -> list[float]:
        """Return the V scores of what comes after 1 to block_size tokens. A compiler may run when it has doubled."""

    def logits(self, state: Any, batch: Batch, config: Any) -> list[Rows]:
        """Return each document's scores, (T, V), one row after each token but the last, and change nothing."""

    def loss_and_grads(self, state: Any, batch: Batch, config: Any) -> tuple[float, Tensors]:
        """Return the mean loss over the batch's tokens and its gradients: by name, in each weight's shape (out, in).

        The gradients are those before clipping. Nothing is changed.
        """


class Engine(EngineModule, Protocol):
    """An engine that has been loaded: whoever loads it sets what stands here, if the module does not.

    An engine for several processes, which a launcher started alike, has a rank and a maximum of its own. Each process
    makes every call, in the same order, and gets the same back; within a call, each takes its share of the batch.
    """

    lesson: Lesson  # the folder's microgpt.py
    LOST_PROCESS: tuple[str, ...]  # in which of its framework's words another process is gone
    rank: int  # this process's number: 0 writes and speaks, and is alone where nothing else is said

    def maximum(self, values: list[float]) -> list[float]:
        """Return the largest of each value over all processes: what a clock or a signal decides is then the same."""


@dataclass(frozen=True)
class Folder:
    """What `main.py` says of its folder without importing a framework, so that --help answers at once.

    `backends` names the module of each engine, the default first; `dtypes` and `devices` are what they can honour,
    the default dtype first, and `device_dtypes` names devices with another default, each with that; `checkpoint` is the
    file that a run saves to, whose suffix chooses the format; `compiled` is the module that --compile takes in place of
    the default engine, `distributed` the one for --distributed and `sharded` that for --shard, if there are any;
    `ranks` names the environment variables in which a launcher may say which process this is.
    """

    path: Path
    dtypes: tuple[str, ...]
    devices: tuple[str, ...] = ("cpu",)
    device_dtypes: tuple[tuple[str, str], ...] = ()
    checkpoint: str = "checkpoint.safetensors"
    backends: tuple[tuple[str, str], ...] = (("default", "engine"),)
    compiled: str = ""
    distributed: str = ""
    sharded: str = ""
    ranks: tuple[str, ...] = ("RANK",)

    @property
    def name(self) -> str:
        return self.path.name
