"""microGPT in JAX: pure functions of explicit state, differentiated, vectorised and compiled by transformations.

Trains on names, all 500 steps inside one compiled loop, and prints 20 new ones: `uv run python microgpt.py`.
The model and the algorithm follow Andrej Karpathy's microGPT.
"""

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


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
# Written for one document: x is (T, C). jax.vmap in loss_fn makes it work on a batch.
def linear(x, w):
    return x @ w.T


def softmax(logits):
    return jax.nn.softmax(logits, axis=-1)


def rmsnorm(x):
    """Scale each row to a root mean square of 1 (Zhang & Sennrich 2019), without weights."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-5)


def attention(x, params, layer, config):
    """Let each position gather from itself and those before it (Vaswani et al. 2017)."""
    T, C = x.shape
    H, D = config.n_head, C // config.n_head
    qkv = (linear(x, params[f"{layer}.attn_{w}"]) for w in ("wq", "wk", "wv"))
    q, k, v = (heads.reshape(T, H, D).swapaxes(0, 1) for heads in qkv)  # (H, T, D)
    attn_scores = q @ k.swapaxes(-1, -2) * D**-0.5  # (H, T, T)
    # causal: what comes later is to be predicted, not seen
    attn_scores = jnp.where(jnp.tri(T, dtype=bool), attn_scores, -jnp.inf)
    attn_weights = softmax(attn_scores)
    attn_out = (attn_weights @ v).swapaxes(0, 1).reshape(T, C)  # (T, C)
    return linear(attn_out, params[f"{layer}.attn_wo"])


def mlp(x, params, layer):
    """Work on each position by itself: widen to 4C, squared ReLU (So et al. 2021), back to C."""
    h = jnp.square(jnp.maximum(linear(x, params[f"{layer}.mlp_fc1"]), 0))  # (T, 4C)
    return linear(h, params[f"{layer}.mlp_fc2"])


def block(x, params, layer, config):
    residual = x + attention(rmsnorm(x), params, layer, config)
    return residual + mlp(rmsnorm(residual), params, layer)


def gpt(params, tokens, config):
    """Return logits (T, V): after each of the T tokens, a score for every token that may come next."""
    tok_emb, pos_emb = params["wte"][tokens], params["wpe"][: tokens.shape[-1]]
    x = rmsnorm(tok_emb + pos_emb)
    for i in range(config.n_layer):  # runs once, while tracing: the compiler sees the layers one after the other
        x = block(x, params, f"layer{i}", config)
    return linear(x, params["lm_head"])


# %% Loss
PADDING = -1  # no token: as a target it says that there is nothing to predict


def pad(batch, config):
    """Return the documents of a batch as one array (B, block_size + 1), with PADDING to the right of shorter ones."""
    longest = config.block_size + 1  # one length for all batches: another shape would be compiled anew
    return np.array([doc + [PADDING] * (longest - len(doc)) for doc in batch], np.int32)


def loss_fn(params, batch, config):
    """Return the mean cross-entropy over the tokens of a padded batch.

    As an input, padding may look up any embedding (-1 is the last): the causal mask hides it from the real tokens on
    its left.
    """
    logits = jax.vmap(lambda tokens: gpt(params, tokens, config))(batch[:, :-1])  # (B, T, V)
    targets = batch[:, 1:]
    log_probs = jax.nn.log_softmax(logits)
    losses = -jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]  # (B, T)
    real = targets != PADDING
    return jnp.mean(losses, where=real)


# %% Gradients
loss_and_grads = jax.value_and_grad(loss_fn)  # a new function: (params, batch, config) -> loss, d loss / d params


# %% Optimizer
class State(NamedTuple):
    """All that a step changes: weights and Adam's two running means, matrices by name, and the steps taken."""

    params: dict[str, jax.Array]
    adam_m: dict[str, jax.Array]
    adam_v: dict[str, jax.Array]
    step: jax.Array


def init_state(params, dtype=jnp.float32):
    params = {name: jnp.array(rows, dtype) for name, rows in params.items()}
    return State(params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.array(0))


def schedule(step, config):
    """Return the learning rate of a step: half a cosine, from its first value down towards 0."""
    return config.learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * step / config.num_steps))


def adam_step(state, grads, learning_rate, config):
    """Return the state after moving each weight against its gradient, by Adam (Kingma & Ba 2015)."""
    if config.clip_grad:
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(grad)) for grad in grads.values()))
        clip = jnp.minimum(1, config.clip_grad / (norm + 1e-6))
        grads = jax.tree.map(lambda grad: grad * clip, grads)
    step = state.step + 1
    adam_m = jax.tree.map(lambda m, grad: config.beta1 * m + (1 - config.beta1) * grad, state.adam_m, grads)
    adam_v = jax.tree.map(lambda v, grad: config.beta2 * v + (1 - config.beta2) * grad * grad, state.adam_v, grads)

    def move(w, m, v):
        m_hat = m / (1 - config.beta1**step)  # both means start at 0 and are too small at first
        v_hat = v / (1 - config.beta2**step)
        return w - learning_rate * m_hat / (jnp.sqrt(v_hat) + config.eps_adam)

    return State(jax.tree.map(move, state.params, adam_m, adam_v), adam_m, adam_v, step)


# %% Training
CONFIG = Config()


def train_step(state, batch, config):
    """Return the state after one step on a padded batch, and the mean loss over its tokens before the step."""
    loss, grads = loss_and_grads(state.params, batch, config)
    return adam_step(state, grads, schedule(state.step, config), config), loss


# config is static: a constant in the compiled code, so that another one is compiled anew. state is donated: the new one
# takes over its memory. scan compiles one step and loops over it; Python's for would be unrolled, each step compiled.
@partial(jax.jit, static_argnames="config", donate_argnames="state")
def train_steps(state, batches, config):
    """Take one step for each of the padded batches (steps, B, block_size + 1), in one call of compiled code."""
    return jax.lax.scan(lambda state, batch: train_step(state, batch, config), state, batches)


# %% Inference
compiled_gpt = jax.jit(gpt, static_argnames="config")  # always called with block_size tokens, so compiled once


def generate(state, bos, rng, config):
    """Return tokens drawn one by one, each by the probabilities that those before it give, until BOS or block_size."""
    tokens = [bos]
    while len(tokens) <= config.block_size:
        logits = compiled_gpt(state.params, pad([tokens], config)[0, :-1], config)[len(tokens) - 1]
        probs = softmax(logits / config.temperature)
        token = rng.choices(range(len(probs)), weights=probs.tolist())[0]
        if token == bos:
            break
        tokens.append(token)
    return tokens[1:]


def main():
    rng = random.Random(CONFIG.seed)  # one generator: order of documents, weights, then samples
    docs = load_docs(NAMES, rng)
    tokenizer = Tokenizer(docs)
    state = init_state(init_params(CONFIG, tokenizer.vocab_size, rng))
    batches = []
    for step in range(CONFIG.num_steps):
        batch = [docs[(step * CONFIG.batch_size + b) % len(docs)] for b in range(CONFIG.batch_size)]
        tokens = [tokenizer.encode(doc)[: CONFIG.block_size + 1] for doc in batch]
        batches.append(pad(tokens, CONFIG))
    state, losses = train_steps(state, np.stack(batches), CONFIG)
    for step, loss in enumerate(losses.tolist()):
        print(f"step {step + 1:4d} / {CONFIG.num_steps:4d} | loss {loss:.4f}")
    for i in range(20):
        print(f"sample {i + 1:2d}: {tokenizer.decode(generate(state, tokenizer.bos, rng, CONFIG))}")


if __name__ == "__main__":
    main()
