"""Drawing text from a trained model, token by token."""

import math
from collections.abc import Iterator
from random import Random
from typing import Any

from ..contract import Engine, Vocabulary
from ..system.console import printable
from ..system.errors import RunError, UserError
from .bounds import Settings

STREAM_TOKENS = 500  # how long a stream runs on where nobody said how long


def encode_prompt(prompt: str, tokenizer: Vocabulary) -> list[int]:
    """Return the prompt's tokens. UserError names the first character that the model never saw."""
    for place, char in enumerate(prompt, start=1):
        if char not in tokenizer.token_of:
            known = printable("".join(tokenizer.chars[:80]))
            raise UserError(f"--prompt: {char!r} (character {place}) is not in the vocabulary; it knows: {known}")
    return [tokenizer.token_of[char] for char in prompt]


class Sampler:
    """Draws samples from one state. `mode` is the dataset's: a discrete sample ends at BOS or block_size characters,
    a stream runs on as long as it is told to and looks back on the last block_size tokens.
    """

    def __init__(
        self, engine: Engine, state: Any, tokenizer: Vocabulary, mode: str, settings: Settings, rng: Random
    ) -> None:
        self.engine, self.state, self.tokenizer, self.mode = engine, state, tokenizer, mode
        self.settings, self.rng = settings, rng
        self.prompt = encode_prompt(settings.prompt, tokenizer)
        block_size = settings.config.block_size
        if mode == "discrete" and len(self.prompt) >= block_size:
            raise UserError(
                f"--prompt: its {len(self.prompt)} characters leave no room in a block of {block_size};"
                " use a shorter one or train with a larger --block-size"
            )

    @property
    def always_the_same(self) -> str:
        """Why every sample is the same, in words, or "" where chance has a say."""
        if self.settings.config.temperature == 0:
            return "temperature 0 takes the likeliest character each time"
        return "top-k 1 leaves nothing to draw from" if self.settings.top_k == 1 else ""

    def sample(self) -> Iterator[str]:
        """Yield one sample in pieces, the prompt first."""
        yield self.settings.prompt
        for token in self.tokens():
            yield "\n\n" if token == self.tokenizer.bos else self.tokenizer.chars[token]

    def tokens(self) -> Iterator[int]:
        """Yield what follows the prompt. BOS ends a discrete sample and parts a stream's paragraphs."""
        config, bos = self.settings.config, self.tokenizer.bos
        limit = self.settings.max_tokens or STREAM_TOKENS
        if self.mode == "discrete":
            limit = min(limit, config.block_size - len(self.prompt))
        seen = [bos, *self.prompt]
        for _ in range(limit):
            window = seen[-config.block_size :]
            token = self.draw(self.engine.next_logits(self.state, window, config), window)
            if token == bos and self.mode == "discrete":
                return
            seen.append(token)
            yield token

    def draw(self, logits: list[float], window: list[int]) -> int:
        """Draw from softmax(logits / temperature), after the repetition penalty and top-k."""
        settings, temperature = self.settings, self.settings.config.temperature
        if not all(map(math.isfinite, logits)):
            raise RunError("the model's weights give no finite scores; train again with a smaller --lr")
        # A huge penalty may make scores -inf, which is to say: never again. BOS keeps its own, so one is always left.
        logits = penalise(logits, set(window) - {self.tokenizer.bos}, settings.repetition_penalty)
        if temperature == 0:
            return max(range(len(logits)), key=logits.__getitem__)
        if settings.top_k:
            # sorted() is stable: of equal scores the lower token stays, in every folder
            kept = sorted(range(len(logits)), key=lambda token: -logits[token])[: settings.top_k]
            logits = [logit if token in kept else -math.inf for token, logit in enumerate(logits)]
        return self.rng.choices(range(len(logits)), weights=softmax(logits, temperature))[0]


def penalise(logits: list[float], repeated: set[int], penalty: float) -> list[float]:
    """Make tokens less likely that stand in the window already (Keskar et al. 2019, CTRL)."""
    if penalty == 1:
        return logits
    penalised = list(logits)
    for token in repeated:
        penalised[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
    return penalised


def softmax(logits: list[float], temperature: float) -> list[float]:
    largest = max(logits)
    exps = [math.exp((logit - largest) / temperature) for logit in logits]
    total = sum(exps)
    return [e / total for e in exps]
