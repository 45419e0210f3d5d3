"""What must hold of each extension. A check calls what the learner wrote and looks at the numbers, never at the text.

It returns if all is well, and raises Wrong otherwise. What the learner's code raises by itself passes through.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Protocol

from . import tensors

# Relative to the largest number wanted. What uses the lesson's own functions computes as exactly as the lesson does.
EXACT = 1e-12
# What stands for itself may well contain numbers in float32, which some frameworks choose for arange, cos or exp.
CLOSE = 1e-5

Rows = list[list[float]]
Pair = tuple[int, int]


class Wrong(Exception):
    """An extension does not do what it must. The message is one line for the learner: what came, what was wanted."""


class Attempt(Protocol):
    """A learner's file at work, at a small random model: n_layer 2, n_head 3, n_embd 15, block_size 7, num_steps 10."""

    module: Any  # the file, imported: the folder's lesson with the extension in it
    engine: Any  # the folder's engine.py over that module (contract.EngineModule)
    config: Any
    batch: list[list[int]]  # four documents of different lengths as tokens, each at most block_size + 1 long
    rng: random.Random  # seeded anew for each check

    def state(self, **changes: Any) -> Any:
        """Return a new float64 state at random weights, or at `params`."""

    def params(self) -> dict[str, Rows]:
        """Return the random weights by name."""

    def array(self, rows: Any) -> Any:
        """Return nested lists of floats as what this lesson computes with, in float64."""

    def plain(self, value: Any) -> Any:
        """Return arrays, alone or in lists, tuples and dicts, as nested lists of floats. TypeError for what is none."""


# Asking
def asked(attempt: Attempt, name: str) -> Any:
    """Return what the stub defines under this name."""
    if not hasattr(attempt.module, name):
        raise Wrong(f"the file has no {name}: its stub has to keep its name")
    return getattr(attempt.module, name)


def two(what: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Wrong(f"{what} is to return two things as a tuple; it returned {kind(value)}")
    return value[0], value[1]


def kind(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"


def tensor(attempt: Attempt, what: str, value: Any) -> tensors.Tensor:
    """Return what came back as numbers with a shape."""
    if value is None:
        raise Wrong(f"{what} is nothing (None); wanted are numbers")
    try:
        return tensors.tensor(attempt.plain(value))
    except TypeError as error:
        raise Wrong(f"{what} is {kind(value)}, which does not hold numbers only: {error}") from None


def equal(attempt: Attempt, what: str, got: Any, wanted: Any, why: str = "", tolerance: float = CLOSE) -> None:
    """Raise Wrong where numbers are not the wanted ones, and name the worst. Both are arrays or nested lists."""
    is_tensor, to_be = tensor(attempt, what, got), tensor(attempt, what, wanted)
    if is_tensor.shape != to_be.shape:
        raise Wrong(f"{what} has the shape {tensors.shape(is_tensor)}; wanted is {tensors.shape(to_be)}")
    distances = [tensors.apart(g, w) for g, w in zip(is_tensor.numbers, to_be.numbers)]
    scale = max(map(abs, to_be.numbers), default=0.0) or 1.0
    by = max(distances, default=0.0) / scale
    if by <= tolerance:
        return
    worst = max(range(len(distances)), key=distances.__getitem__)
    place = "".join(f"[{i}]" for i in tensors.index(worst, to_be.shape))
    digits = 6 if by > 1e-4 else 15
    came, should = (f"{figure.numbers[worst]:.{digits}g}" for figure in (is_tensor, to_be))
    # So small a difference is no mistake of thought.
    hint = "" if by > 1e-5 else f" (apart by {by:.0e}: is there something in float32, or another small constant?)"
    raise Wrong(f"{what}{place} is {came}; wanted is {should}{hint}{': ' + why if why else ''}")


def same_matrices(attempt: Attempt, each: str, got: Any, wanted: Any, why: str = "") -> None:
    """Raise Wrong where matrices by name are not the wanted ones. `each` is said before a name: "the gradient of"."""
    if not isinstance(got, dict):
        raise Wrong(f"{each} each weight is to stand in a dict under the weight's name; what came is {kind(got)}")
    if missing := [name for name in wanted if name not in got]:
        raise Wrong(f"{each} {missing[0]} is missing")
    if extra := [name for name in got if name not in wanted]:
        raise Wrong(f"{each} {extra[0]} has no place in what is returned")
    for name, matrix in wanted.items():
        equal(attempt, f"{each} {name}", got[name], matrix, why, EXACT)


def unchanged(attempt: Attempt, what: str, state: Any, before: Any) -> None:
    """Raise Wrong where a state is no longer what export_state said before."""
    why = "the state that is passed in is to stay as it is"
    same_matrices(attempt, f"after {what}, the weight", weights(attempt, state), before, why)


def weights(attempt: Attempt, state: Any) -> dict[str, Any]:
    """Return a copy of a state's weights."""
    return attempt.plain(attempt.engine.export_state(state)[0])


def gauss(attempt: Attempt, *shape: int) -> Any:
    """Return nested lists of random numbers from N(0, 1)."""
    if not shape:
        return attempt.rng.gauss(0, 1)
    return [gauss(attempt, *shape[1:]) for _ in range(shape[0])]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b))


def brief(numbers: Sequence[float]) -> str:
    return f"[{', '.join(f'{number:.4g}' for number in numbers)}]"


# warm-up
def warm_up(attempt: Attempt) -> None:
    rate = asked(attempt, "warm_up_learning_rate")
    for warm_up_steps in (0, 1, 4, attempt.config.num_steps):
        for step in range(attempt.config.num_steps):
            call = f"warm_up_learning_rate({step}, {warm_up_steps}, config)"
            wanted = learning_rate(step, warm_up_steps, attempt.config)
            equal(attempt, call, rate(step, warm_up_steps, attempt.config), wanted, stretch(step, warm_up_steps))


def learning_rate(step: int, warm_up_steps: int, config: Any) -> float:
    if step < warm_up_steps:
        return config.learning_rate * (step + 1) / warm_up_steps
    share = (step - warm_up_steps) / (config.num_steps - warm_up_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def stretch(step: int, warm_up_steps: int) -> str:
    """Say in which part of the schedule a step is."""
    if warm_up_steps == 0:
        return "without a rise it is the lesson's schedule"
    if step < warm_up_steps - 1:
        return "the rise is in equal parts"
    if step == warm_up_steps - 1:
        return "the rise ends here, at learning_rate"
    return "half a cosine begins at learning_rate after the rise, and would reach 0 at num_steps"


# top-p
BINARY = [0.0625, 0.5, 0.125, 0.25, 0.03125, 0.03125]  # these add up without rounding, so a sum can be p exactly


def nucleus(attempt: Attempt) -> None:
    for p in (0.5, 0.75, 0.8, 0.01, 0.97, 1.0):
        one_nucleus(attempt, BINARY, p)
    for _ in range(30):
        exps = [math.exp(2 * number) for number in gauss(attempt, 11)]
        one_nucleus(attempt, [e / sum(exps) for e in exps], attempt.rng.uniform(0.05, 0.95))


def one_nucleus(attempt: Attempt, probs: list[float], p: float) -> None:
    call = f"top_p({brief(probs)}, {p:.4g})"
    given = list(probs)
    result = asked(attempt, "top_p")(given, p)
    if given != probs:
        raise Wrong(f"{call} changes the list that it is given")
    got = tensor(attempt, call, result)
    if got.shape != (len(probs),):
        raise Wrong(f"{call} has the shape {tensors.shape(got)}; wanted is one number for each of the {len(probs)}")
    kept = [token for token, prob in enumerate(got.numbers) if prob]
    wanted = kept_tokens(probs, p)
    if kept != wanted:
        raise Wrong(
            f"{call} keeps the tokens {kept}; wanted are {wanted}, with the one that reaches p and none after it"
        )
    total = sum(probs[token] for token in wanted)
    equal(
        attempt,
        call,
        result,
        [prob / total if token in wanted else 0.0 for token, prob in enumerate(probs)],
        "each token's probability, divided by the sum of those that are kept",
    )


def kept_tokens(probs: list[float], p: float) -> list[int]:
    """Return the most likely tokens whose probabilities reach p, in the order of the tokens."""
    order = sorted(range(len(probs)), key=lambda token: -probs[token])  # stable: of equal ones the smaller comes first
    total, kept = 0.0, []
    for token in order:
        kept.append(token)
        total += probs[token]
        if total >= p:
            break
    return sorted(kept)


# dropout
def dropout(attempt: Attempt) -> None:
    drop = asked(attempt, "dropout")

    def call(x: Rows, rate: float, uniform: Rows, training: bool) -> Any:
        return drop(attempt.array(x), rate, attempt.array(uniform), training)

    x = gauss(attempt, 5, 6)
    uniform = [[attempt.rng.random() for _ in row] for row in x]
    equal(attempt, "dropout(x, 0.25, uniform, False)", call(x, 0.25, uniform, False), x, "sampling drops nothing")
    equal(attempt, "dropout(x, 0.0, uniform, True)", call(x, 0.0, uniform, True), x, "a rate of 0 drops nothing")
    ones = [[1.0] * 50 for _ in range(40)]
    draws = [[attempt.rng.random() for _ in row] for row in ones]
    numbers = tensor(attempt, "dropout(ones, 0.5, uniform, True)", call(ones, 0.5, draws, True)).numbers
    mean = math.fsum(numbers) / (len(numbers) or 1)
    if not abs(mean - 1) < 0.2:  # nine standard deviations
        raise Wrong(
            f"of 2,000 ones at a rate of 0.5, dropout makes numbers with a mean of {mean:.2f}; wanted is about 1"
        )
    uniform[0][0], uniform[1][1] = 0.25, 0.0  # both limits
    for rate in (0.25, 0.75):
        wanted = [[0.0 if u < rate else xi / (1 - rate) for xi, u in zip(*rows)] for rows in zip(x, uniform)]
        why = f"0 where uniform is below {rate}, and elsewhere x / (1 - {rate})"
        equal(attempt, f"dropout(x, {rate}, uniform, True)", call(x, rate, uniform, True), wanted, why)


# gradient-accumulation
def accumulation(attempt: Attempt) -> None:
    docs = sorted(attempt.batch, key=len)
    wanted = attempt.engine.loss_and_grads(attempt.state(), docs, attempt.config)
    state = attempt.state()
    before = weights(attempt, state)
    accumulate(attempt, "all in one part", state, [docs], *wanted)
    accumulate(attempt, "the same in a second call", state, [docs], *wanted)
    accumulate(attempt, "one document in a part, three in the next", state, [docs[:1], docs[1:]], *wanted)
    accumulate(attempt, "each document a part", state, [[doc] for doc in docs], *wanted)
    unchanged(attempt, "accumulated_loss_and_grads", state, before)


def accumulate(
    attempt: Attempt, how: str, state: Any, parts: list[list[list[int]]], wanted_loss: float, wanted_grads: Any
) -> None:
    name = "accumulated_loss_and_grads"
    loss, grads = two(name, asked(attempt, name)(state, parts, attempt.config))
    means = [attempt.engine.evaluate(attempt.state(), part, attempt.config) for part in parts]
    why = "the mean over all tokens, so a part counts by its tokens"
    if len(parts) > 1 and is_near(attempt, loss, sum(means) / len(means)):
        why = "this is the mean of the parts' means, but a part counts by its tokens"
    equal(attempt, f"{how}: the loss", loss, wanted_loss, why, EXACT)
    same_matrices(attempt, f"{how}: the gradient of", grads, wanted_grads, "that of the mean over all tokens")


def is_near(attempt: Attempt, got: Any, number: float) -> bool:
    """Whether what came is a certain wrong number, which says what the mistake is."""
    numbers = tensor(attempt, "the loss", got).numbers
    return len(numbers) == 1 and abs(numbers[0] - number) <= CLOSE * abs(number)


# weight-decay
def weight_decay(attempt: Attempt) -> None:
    """Compare several steps in a row, each with the lesson's from the same numbers: so no difference adds up."""
    step_on = asked(attempt, "adamw_step")
    config = attempt.config
    for decay, n_steps in ((0.0, 1), (0.5, 3)):
        state = attempt.state()
        for step in range(n_steps):
            before = attempt.plain(attempt.engine.export_state(state))
            lesson_state = attempt.engine.make_state(config, *before, step=step, dtype="float64")
            lesson_state, _ = attempt.engine.train_steps(lesson_state, [attempt.batch], config)
            state = step_on(state, [list(doc) for doc in attempt.batch], config, decay)
            if state is None:
                raise Wrong("adamw_step is to return the state after the step; it returned nothing (None)")
            lr = learning_rate(step, 0, config)
            check_step(attempt, f"weight_decay {decay}, step {step}", state, lesson_state, before[0], lr * decay)


def check_step(attempt: Attempt, when: str, state: Any, lesson_state: Any, before: Any, share: float) -> None:
    """Compare a state with the lesson's after the same step, from which each weight loses a share of what it was."""
    wanted, *lesson_means = attempt.plain(attempt.engine.export_state(lesson_state))
    got, *means = attempt.engine.export_state(state)
    for what, mean, lesson_mean in zip(("gradients", "squared gradients"), means, lesson_means):
        why = "the lesson's own: decay does not pass through the gradient"
        same_matrices(attempt, f"{when}: Adam's mean of {what} of", mean, lesson_mean, why)
    for name, rows in wanted.items():
        wanted[name] = [[w - share * old for w, old in zip(*pair)] for pair in zip(rows, before[name])]
    why = (
        "the lesson's step" if not share else "the lesson's step, less learning rate * weight_decay * the weight before"
    )
    seen = {token for doc in attempt.batch for token in doc[:-1]}
    for token in (token for token in range(len(wanted["wte"])) if token not in seen):
        row = attempt.plain(got["wte"])[token]
        alone = "this token is not in the batch, so nothing but decay moves its weights"
        equal(attempt, f"{when}: the weight wte[{token}]", row, wanted["wte"][token], alone, EXACT)
    same_matrices(attempt, f"{when}: the weight", got, wanted, why)


# tied-embeddings
def tied(attempt: Attempt) -> None:
    function = asked(attempt, "tied_loss_and_grads")
    params = attempt.params()
    twins = attempt.state(params={**params, "lm_head": params["wte"]})
    loss, grads = attempt.engine.loss_and_grads(twins, attempt.batch, attempt.config)
    wanted = attempt.plain(grads)
    as_input, as_output = wanted["wte"], wanted.pop("lm_head")
    wanted["wte"] = [[a + b for a, b in zip(*rows)] for rows in zip(as_input, as_output)]
    state = attempt.state()
    before = weights(attempt, state)
    for time in ("", "in a second call: "):
        name = "tied_loss_and_grads"
        got_loss, got = two(name, function(state, [list(doc) for doc in attempt.batch], attempt.config))
        equal(attempt, f"{time}the loss", got_loss, loss, "logits are to be computed with wte", EXACT)
        if isinstance(got, dict) and "lm_head" in got:
            raise Wrong(
                f"{time}there is a gradient of lm_head; what comes back where wte scores tokens is part of wte's"
            )
        same_matrices(attempt, f"{time}the gradient of", got, wanted, "wte's is the sum of what both of its uses give")
    unchanged(attempt, name, state, before)


# byte-pair-tokenizer
def byte_pairs(attempt: Attempt) -> None:
    one_tokenizer(attempt, ["ba"] * 3, 4, ["ab", "ba", "bab"])  # a and b are neighbours across documents only
    one_tokenizer(attempt, ["aaaa", "aaa", "ba"], 3, ["aaaaa", "aab"])
    for n_merges in (0, 1, 8, 1000):
        texts = ["".join(attempt.rng.choices("aabbcde", k=attempt.rng.randint(1, 12))) for _ in range(40)]
        one_tokenizer(attempt, ["abcde", *texts[:20]], n_merges, texts[20:])


def one_tokenizer(attempt: Attempt, docs: list[str], n_merges: int, others: list[str]) -> None:
    """Compare a learner's tokenizer with one that is written as slowly, and as simply, as possible."""
    made = f"BytePairTokenizer({some(docs)}, {n_merges})"
    tokenizer = asked(attempt, "BytePairTokenizer")(list(docs), n_merges)
    chars = sorted(set("".join(docs)))
    merges = learn_merges([[chars.index(char) for char in doc] for doc in docs], len(chars), n_merges)
    bos = len(chars) + len(merges)
    same(f"{made}.chars", getattr(tokenizer, "chars", None), chars)
    same_merges(made, getattr(tokenizer, "merges", None), merges)
    same(f"{made}.bos", getattr(tokenizer, "bos", None), bos)
    same(f"{made}.vocab_size", getattr(tokenizer, "vocab_size", None), bos + 1)
    for doc in docs + others:
        tokens = [chars.index(char) for char in doc]
        for i, pair in enumerate(merges):
            tokens = merge(tokens, pair, len(chars) + i)
        same(f"{made}.encode({doc!r})", tokenizer.encode(doc), [bos, *tokens, bos])
        same(f"{made}.decode({tokens})", tokenizer.decode(tokens), doc)


def same(what: str, got: Any, wanted: Any) -> None:
    if got != wanted:
        raise Wrong(f"{what} is {got!r}; wanted is {wanted!r}".replace("\n", " "))


def same_merges(made: str, got: Any, wanted: list[Pair]) -> None:
    if not isinstance(got, list) or not all(isinstance(pair, tuple | list) for pair in got):
        raise Wrong(f"{made}.merges is to be a list of pairs of tokens; it is {kind(got)}")
    for i, (pair, wanted_pair) in enumerate(zip(got, wanted)):
        same(f"{made}.merges[{i}]", tuple(pair), wanted_pair)
    same(f"the number of merges in {made}", len(got), len(wanted))


def learn_merges(docs: list[list[int]], next_token: int, n_merges: int) -> list[Pair]:
    merges: list[Pair] = []
    for token in range(next_token, next_token + n_merges):
        counts = Counter(pair for doc in docs for pair in pairwise(doc))
        if not counts:
            break
        merges.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        docs = [merge(doc, merges[-1], token) for doc in docs]
    return merges


def merge(tokens: list[int], pair: Pair, token: int) -> list[int]:
    """Return the tokens with each occurrence of a pair, from left to right, as one token."""
    merged: list[int] = []
    i = 0
    while i < len(tokens):
        found = tuple(tokens[i : i + 2]) == pair
        merged.append(token if found else tokens[i])
        i += 2 if found else 1
    return merged


def some(docs: list[str]) -> str:
    return repr(docs) if len(docs) <= 4 else f"[{docs[0]!r}, {docs[1]!r}, … {len(docs)} documents]"


# rotary-positions
HEAD = 6  # D


def rotary(attempt: Attempt) -> None:
    rotate = asked(attempt, "rotate")
    x = gauss(attempt, 4, HEAD)
    at_5 = rotate(attempt.array(x), 5)
    equal(
        attempt, "rotate(x, 0)[0]", rows_of(attempt, rotate(attempt.array(x), 0), 4)[0], x[0], "no turn at position 0"
    )
    for t, row in enumerate(rows_of(attempt, at_5, 4)):
        what, why = f"rotate(x, 5)[{t}]", f"row {t} stands at position {5 + t}"
        equal(attempt, what, row, turned(attempt, x[t], 5 + t), why)
        equal(attempt, f"the length of {what}", math.hypot(*row), math.hypot(*x[t]), "turning keeps it")
    distances(attempt, x[0], x[1])
    speeds(attempt)


def rows_of(attempt: Attempt, value: Any, n_rows: int) -> Rows:
    """Return the rows of what rotate returned for n_rows of them."""
    if (shape := tensor(attempt, "rotate(x, …)", value).shape) != (n_rows, HEAD):
        raise Wrong(f"rotate of {n_rows} rows of {HEAD} has the shape {shape}; wanted is the shape of x")
    return attempt.plain(value)


def turned(attempt: Attempt, row: list[float], position: int) -> list[float]:
    return rows_of(attempt, attempt.module.rotate(attempt.array([row]), position), 1)[0]


def distances(attempt: Attempt, query: list[float], key: list[float]) -> None:
    """A score is to depend on how far the key is from the query, and on nothing else."""
    scores = {}
    for distance in range(5):
        there = (dot(turned(attempt, query, p + distance), turned(attempt, key, p)) for p in (0, 1, 9))
        scores[distance], *others = there
        for p, score in zip((1, 9), others):
            what = f"the product of a query at position {p + distance} and a key at {p}"
            equal(attempt, what, score, scores[distance], f"as for positions {distance} and 0, at the same distance")
    if len({round(score, 6) for score in scores.values()}) < len(scores):
        raise Wrong(f"products at the distances 0 to 4 are {brief(list(scores.values()))}; wanted are different ones")


def speeds(attempt: Attempt) -> None:
    """What pairs the learner chose is not known, but the diagonal of a turn adds up to the same whatever they are."""
    for position in (1, 2, 3):
        unit = [[float(i == j) for j in range(HEAD)] for i in range(HEAD)]
        diagonal = math.fsum(turned(attempt, row, position)[i] for i, row in enumerate(unit))
        angles = [position * 10000 ** (-2 * i / HEAD) for i in range(HEAD // 2)]
        what = f"at position {position}, the sum over all pairs of twice the cosine of their angle"
        wanted = 2 * math.fsum(map(math.cos, angles))
        equal(attempt, what, diagonal, wanted, f"the angles are {brief(angles)}, one for each pair")


# grouped-queries
def grouped(attempt: Attempt) -> None:
    attention = asked(attempt, "grouped_attention")
    H, T, D = 6, 7, 5
    for G in (6, 2, 3, 1):
        q, k, v = gauss(attempt, H, T, D), gauss(attempt, G, T, D), gauss(attempt, G, T, D)
        call = f"grouped_attention for {H} query heads and {G} heads of k and v"
        got = attention(attempt.array(q), attempt.array(k), attempt.array(v))
        if (shape := tensor(attempt, call, got).shape) != (H, T, D):
            raise Wrong(f"{call} has the shape {shape}; wanted is {(H, T, D)}")
        later = [[[*head[:-1], [9.0] * D] for head in heads] for heads in (k, v)]
        blind = attention(attempt.array(q), attempt.array(later[0]), attempt.array(later[1]))
        for h in range(H):
            group = h // (H // G)
            head, without_last = attempt.plain(got)[h], attempt.plain(blind)[h]
            why = "the last key and value have changed, which earlier positions should not see"
            equal(attempt, f"{call}: result[{h}]", without_last[:-1], head[:-1], why)
            why = f"query head {h} meets group {group} of k and v, with scores divided by √D"
            equal(attempt, f"{call}: result[{h}]", head, attention_of_one_head(q[h], k[group], v[group]), why)


def attention_of_one_head(q: Rows, k: Rows, v: Rows) -> Rows:
    out = []
    for t, query in enumerate(q):
        exps = [math.exp(dot(query, key) / math.sqrt(len(query))) for key in k[: t + 1]]
        out.append([dot(exps, column[: t + 1]) / math.fsum(exps) for column in zip(*v)])
    return out


# key-value-cache
def cache(attempt: Attempt) -> None:
    asked(attempt, "next_logits_cached")
    state = attempt.state()
    before = weights(attempt, state)
    for doc in sorted(attempt.batch, key=len):
        feed(attempt, state, doc[:-1])
    unchanged(attempt, "next_logits_cached", state, before)
    longest = max(attempt.batch, key=len)
    nothing_again(attempt, longest[: attempt.config.block_size])


def feed(attempt: Attempt, state: Any, tokens: list[int]) -> Any:
    """Compare the logits after each token with those of all tokens up to it, and return the cache after the last."""
    held = None
    for t, token in enumerate(tokens, start=1):
        result = attempt.module.next_logits_cached(state, token, held, attempt.config)
        logits, held = two("next_logits_cached", result)
        wanted = attempt.engine.next_logits(state, tokens[:t], attempt.config)
        why = "what gpt returns for all of them"
        equal(attempt, f"with a cache, after the tokens {tokens[:t]}: logits", logits, wanted, why, EXACT)
        at_least = 2 * attempt.config.n_layer * t * attempt.config.n_embd
        if (count := numbers_in(attempt, held)) < at_least:
            raise Wrong(f"the cache of the tokens {tokens[:t]} holds {count} numbers; keys and values have {at_least}")
    return held


def numbers_in(attempt: Attempt, value: Any) -> int:
    """Return how many numbers there are in whatever a cache is made of, tokens and positions not counted."""
    if value is None or isinstance(value, int | str):
        return 0
    if is_dataclass(value) or isinstance(value, SimpleNamespace):
        value = vars(value)
    if isinstance(value, dict):
        return sum(numbers_in(attempt, item) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(numbers_in(attempt, item) for item in value)
    return len(tensor(attempt, "what the cache holds", value).numbers)


def nothing_again(attempt: Attempt, tokens: list[int]) -> None:
    """Once a token is in the cache, its embeddings are of no use: other numbers there are to change nothing."""
    *earlier, token = tokens
    held = feed(attempt, attempt.state(), earlier)
    wanted = attempt.engine.next_logits(attempt.state(), tokens, attempt.config)
    params = attempt.params()
    for name, index in (("wte", token), ("wpe", len(earlier))):
        params[name] = [row if i == index else [w + 1 for w in row] for i, row in enumerate(params[name])]
    other = attempt.state(params=params)
    logits, _ = two("next_logits_cached", attempt.module.next_logits_cached(other, token, held, attempt.config))
    why = "their keys and values are in the cache, so nothing of them is to be computed again"
    equal(attempt, "with other embeddings for the tokens before: logits", logits, wanted, why, EXACT)


CHECKS: dict[str, Callable[[Attempt], None]] = {
    "warm-up": warm_up,
    "top-p": nucleus,
    "dropout": dropout,
    "gradient-accumulation": accumulation,
    "weight-decay": weight_decay,
    "tied-embeddings": tied,
    "byte-pair-tokenizer": byte_pairs,
    "rotary-positions": rotary,
    "grouped-queries": grouped,
    "key-value-cache": cache,
}
