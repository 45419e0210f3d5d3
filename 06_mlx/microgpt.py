"""microGPT in MLX: arrays that are computed only when somebody looks, on Apple GPUs and on any CPU.

Trains on names, a document a step, and prints 20 new ones: `uv run python microgpt.py`.
The model and the algorithm follow Andrej Karpathy's microGPT.
"""

import math
import random
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

import mlx.core as mx


# %% Data
def load_docs(path: Path, rng: random.Random) -> list[str]:
    """Return the lines of a UTF-8 file, stripped, without empty ones, in an order that `rng` shuffles once."""
    docs = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    rng.shuffle(docs)
    return docs


HERE = Path(__file__).parent if "__file__" in globals() else Path()  # a notebook has no __file__
NAMES = HERE.resolve().parent / "data" / "names.txt"


# %% Tokenizer
class Tokenizer:
    """Every distinct character is a token. One more, BOS, stands at both ends of a document."""

    def __init__(self, docs: list[str]) -> None:
        self.chars = sorted(set("".join(docs)))
        self.bos = len(self.chars)
        self.vocab_size = len(self.chars) + 1  # V
        self.token_of = {char: token for token, char in enumerate(self.chars)}

    def encode(self, doc: str) -> list[int]:
        return [self.bos, *(self.token_of[char] for char in doc), self.bos]

    def decode(self, tokens: list[int]) -> str:
        return "".join(self.chars[token] for token in tokens)


# %% Hyperparameters
@dataclass(frozen=True)
class Config:
    n_layer: int = 1
    n_embd: int = 16  # C: numbers that describe one position
    n_head: int = 4  # H: each head works on D = C / H of them
    block_size: int = 8  # the most tokens the model sees
    num_steps: int = 500
    learning_rate: float = 0.01  # at the first step; a half cosine takes it towards 0
    beta1: float = 0.9  # memory of Adam's mean of gradients
    beta2: float = 0.95  # memory of Adam's mean of squared gradients
    eps_adam: float = 1e-8
    clip_grad: float = 0.0  # largest allowed norm of all gradients together; 0 switches clipping off
    batch_size: int = 1  # B: documents in a step
    temperature: float = 0.5  # of sampling: below 1 it keeps to likely characters
    seed: int = 42


# %% Parameters
def init_params(config: Config, vocab_size: int, rng: random.Random) -> dict[str, list[list[float]]]:
    """Return the weights by name, each as rows of shape (out, in), drawn from N(0, 0.02²) in a fixed order."""
    C = config.n_embd
    shapes = {"wte": (vocab_size, C), "wpe": (config.block_size, C), "lm_head": (vocab_size, C)}
    for i in range(config.n_layer):
        shapes |= {f"layer{i}.attn_{w}": (C, C) for w in ("wq", "wk", "wv", "wo")}
        shapes |= {f"layer{i}.mlp_fc1": (4 * C, C), f"layer{i}.mlp_fc2": (C, 4 * C)}
    params = {}
    for name, (n_out, n_in) in shapes.items():
        std = 0 if name.endswith(("attn_wo", "mlp_fc2")) else 0.02  # at the start a block adds nothing to its input
        params[name] = [[rng.gauss(0, std) for _ in range(n_in)] for _ in range(n_out)]
    return params


# %% Model
# Nothing is computed while these functions run: they describe a graph, and mx.async_eval in Training has it computed.
# x holds the positions of all documents one below the other, (B·T, C): only attention has to tell documents apart.
def linear(x, w):
    return x @ w.T


# mx.exp and what is built on it give float64 only the 7 digits of float32; a power of e gives it all 16.
def logsumexp(logits):
    if logits.dtype != mx.float64:
        return mx.logsumexp(logits, axis=-1, keepdims=True)
    largest = logits.max(axis=-1, keepdims=True)
    return largest + mx.log(mx.power(math.e, logits - largest).sum(axis=-1, keepdims=True))


def softmax(logits):
    return mx.softmax(logits, axis=-1) if logits.dtype != mx.float64 else mx.power(math.e, logits - logsumexp(logits))


def rmsnorm(x):
    """Scale each row to a root mean square of 1 (Zhang & Sennrich 2019), without weights.

    mx.fast.rms_norm does the same, but it too gives float64 only 7 digits.
    """
    return x * mx.rsqrt(mx.square(x).mean(axis=-1, keepdims=True) + 1e-5)


@cache
def causal_mask(T, dtype):
    """Return what attention adds to its scores (T, T): 0 where a position may look, -inf where that comes later."""
    return mx.where(mx.tri(T, dtype=mx.bool_), mx.array(0, dtype), mx.array(-math.inf, dtype))


def attention(x, T, params, layer, config):
    """Let each position gather from itself and those before it (Vaswani et al. 2017). x: (B·T, C)."""
    H, D = config.n_head, config.n_embd // config.n_head
    qkv = linear(x, params[f"{layer}.attn_wqkv"]).reshape(-1, T, 3 * H, D).swapaxes(1, 2)  # (B, 3H, T, D)
    q, k, v = mx.split(qkv, 3, axis=1)  # each (B, H, T, D)
    attn_scores = q @ k.swapaxes(2, 3) * D**-0.5  # (B, H, T, T)
    attn_weights = softmax(attn_scores + causal_mask(T, x.dtype))
    attn_out = (attn_weights @ v).swapaxes(1, 2).reshape(x.shape)  # (B·T, C)
    return linear(attn_out, params[f"{layer}.attn_wo"])


def mlp(x, params, layer):
    """Work on each position by itself: widen to 4C, squared ReLU (So et al. 2021), back to C."""
    h = mx.square(mx.maximum(linear(x, params[f"{layer}.mlp_fc1"]), 0))  # (B·T, 4C)
    return linear(h, params[f"{layer}.mlp_fc2"])


def block(x, T, params, layer, config):
    residual = x + attention(rmsnorm(x), T, params, layer, config)
    return residual + mlp(rmsnorm(residual), params, layer)


def gpt(params, tokens, config):
    """Return logits (B·T, V) for tokens (B, T): after each token, a score for every token that may come next."""
    tok_emb, pos_emb = params["wte"][tokens], params["wpe"][: tokens.shape[1]]
    x = rmsnorm((tok_emb + pos_emb).flatten(0, 1))  # (B·T, C)
    for i in range(config.n_layer):
        x = block(x, tokens.shape[1], params, f"layer{i}", config)
    return linear(x, params["lm_head"])


# %% Loss
def pad(batch, dtype):
    """Return tokens (B, T), targets (B·T, 1) and the share of each target's loss in the batch's mean (B·T, 1).

    Documents are filled up on the right to the longest. Any token can fill up: the causal mask hides it from the real
    tokens on its left. Only the loss must leave it out, so its share is 0.
    """
    T = max(len(doc) for doc in batch) - 1
    n_tokens = sum(len(doc) - 1 for doc in batch)
    padded = [doc + [0] * (T + 1 - len(doc)) for doc in batch]
    tokens = [doc[:-1] for doc in padded]
    targets = [[token] for doc in padded for token in doc[1:]]
    shares = [[(t < len(doc) - 1) / n_tokens] for doc in batch for t in range(T)]  # 1 / n_tokens, and 0 for padding
    return mx.array(tokens), mx.array(targets), mx.array(shares, dtype)


def cross_entropy(logits, targets, shares):
    """Return the sum of each target's loss times its share."""
    losses = logsumexp(logits) - mx.take_along_axis(logits, targets, axis=-1)  # -log softmax(logits)[target], (B·T, 1)
    return (losses * shares).sum()


def loss_fn(weights, batch, shapes, config):
    """Return the mean cross-entropy over the tokens of a batch."""
    tokens, targets, shares = pad(batch, weights.dtype)
    return cross_entropy(gpt(unflatten(weights, shapes), tokens, config), targets, shares)


# %% Gradients
loss_and_grads = mx.value_and_grad(loss_fn)  # a new function: (weights, batch, …) -> loss, d loss / d weights


# %% Optimizer
class State:
    """The weights and Adam's two running means, each one flat vector, and the number of steps taken.

    So Adam adds a dozen operations to the graph, not a dozen for each matrix.
    """

    def __init__(self, params, dtype=mx.float32):
        self.shapes = {name: (len(rows), len(rows[0])) for name, rows in params.items()}
        self.stacked = stack_qkv(self.shapes)  # as the model takes them
        self.weights = mx.concatenate([mx.array(rows, dtype).flatten() for rows in params.values()])
        self.adam_m, self.adam_v = mx.zeros_like(self.weights), mx.zeros_like(self.weights)
        self.step = 0


def unflatten(flat, shapes):
    """Return the matrices of these shapes, by name, that stand one after the other in a flat vector."""
    ends = list(accumulate(n_out * n_in for n_out, n_in in shapes.values()))
    return {name: part.reshape(shapes[name]) for name, part in zip(shapes, mx.split(flat, ends[:-1]))}


def stack_qkv(shapes):
    """Return the shapes with wq, wk and wv, which stand one after the other, as one matrix wqkv (3C, C)."""
    stacked = {}
    for name, (n_out, n_in) in shapes.items():
        name = name[:-1] + "qkv" if name.endswith(("wq", "wk", "wv")) else name
        stacked[name] = (stacked.get(name, (0,))[0] + n_out, n_in)
    return stacked


def adam_step(state, grads, config):
    """Move each weight against its gradient, by Adam (Kingma & Ba 2015)."""
    if config.clip_grad:
        norm = mx.sqrt(mx.square(grads).sum())
        grads = grads * mx.minimum(1.0, config.clip_grad / (norm + 1e-6))
    learning_rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * state.step / config.num_steps))
    state.step += 1
    m_correction = 1 - config.beta1**state.step  # both means start at 0 and are too small at first
    v_correction = 1 - config.beta2**state.step
    m = state.adam_m = state.adam_m + (1 - config.beta1) * (grads - state.adam_m)
    v = state.adam_v = state.adam_v + (1 - config.beta2) * (mx.square(grads) - state.adam_v)
    state.weights -= (learning_rate / m_correction) * m / (mx.sqrt(v / v_correction) + config.eps_adam)


# %% Training
CONFIG = Config()


def train_step(state, batch, config):
    """Take one step on a batch and return the mean loss over its tokens before the step, perhaps not yet computed."""
    loss, grads = loss_and_grads(state.weights, batch, state.stacked, config)
    adam_step(state, grads, config)
    mx.async_eval(loss, state.weights, state.adam_m, state.adam_v)  # computed while the next step is being described
    return loss


# %% Inference
def generate(state, bos, rng, config):
    """Return tokens drawn one by one, each by the probabilities that those before it give, until BOS or block_size."""
    tokens = [bos]
    while len(tokens) <= config.block_size:
        logits = gpt(unflatten(state.weights, state.stacked), mx.array([tokens]), config)[-1]
        probs = softmax(logits / config.temperature)
        token = rng.choices(range(probs.size), weights=probs.tolist())[0]
        if token == bos:
            break
        tokens.append(token)
    return tokens[1:]


def main():
    rng = random.Random(CONFIG.seed)  # one generator: order of documents, weights, then samples
    docs = load_docs(NAMES, rng)
    tokenizer = Tokenizer(docs)
    state = State(init_params(CONFIG, tokenizer.vocab_size, rng))
    for step in range(CONFIG.num_steps):
        batch = [docs[(step * CONFIG.batch_size + b) % len(docs)] for b in range(CONFIG.batch_size)]
        tokens = [tokenizer.encode(doc)[: CONFIG.block_size + 1] for doc in batch]
        print(f"step {step + 1:4d} / {CONFIG.num_steps:4d} | loss {train_step(state, tokens, CONFIG).item():.4f}")
    for i in range(20):
        print(f"sample {i + 1:2d}: {tokenizer.decode(generate(state, tokenizer.bos, rng, CONFIG))}")


if __name__ == "__main__":
    main()
