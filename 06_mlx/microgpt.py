"""microGPT in MLX: arrays that are computed only when somebody looks, on Apple GPUs and on CPUs.

Trains on names, a document a step, and prints 20 new ones: `uv run python microgpt.py`.
The model and the algorithm follow Andrej Karpathy's microGPT.
"""

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
from mlx.utils import tree_map


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
# Nothing is computed while these functions run: they describe a graph, and mx.eval in main (tolist in generate) has it
# computed. Written for a batch: x is (B, T, C).
def linear(x, w):
    return x @ w.T


def softmax(logits):
    return mx.softmax(logits, axis=-1)


def rmsnorm(x):
    """Scale each row to a root mean square of 1 (Zhang & Sennrich 2019), without weights."""
    return x * mx.rsqrt(mx.mean(mx.square(x), axis=-1, keepdims=True) + 1e-5)


def attention(x, params, layer, config):
    """Let each position gather from itself and those before it (Vaswani et al. 2017)."""
    B, T, C = x.shape
    H, D = config.n_head, C // config.n_head
    qkv = (linear(x, params[f"{layer}.attn_{w}"]) for w in ("wq", "wk", "wv"))
    q, k, v = (heads.reshape(B, T, H, D).swapaxes(1, 2) for heads in qkv)  # (B, H, T, D)
    attn_scores = q @ k.swapaxes(-1, -2) * D**-0.5  # (B, H, T, T)
    # causal: what comes later is to be predicted, not seen
    attn_scores = mx.where(mx.tri(T, dtype=mx.bool_), attn_scores, -mx.inf)
    attn_weights = softmax(attn_scores)
    attn_out = (attn_weights @ v).swapaxes(1, 2).reshape(B, T, C)  # (B, T, C)
    return linear(attn_out, params[f"{layer}.attn_wo"])


def mlp(x, params, layer):
    """Work on each position by itself: widen to 4C, squared ReLU (So et al. 2021), back to C."""
    h = mx.square(mx.maximum(linear(x, params[f"{layer}.mlp_fc1"]), 0))  # (B, T, 4C)
    return linear(h, params[f"{layer}.mlp_fc2"])


def block(x, params, layer, config):
    residual = x + attention(rmsnorm(x), params, layer, config)
    return residual + mlp(rmsnorm(residual), params, layer)


def gpt(params, tokens, config):
    """Return logits (B, T, V) for tokens (B, T): after each token, a score for every token that may come next."""
    tok_emb, pos_emb = params["wte"][tokens], params["wpe"][: tokens.shape[-1]]
    x = rmsnorm(tok_emb + pos_emb)
    for i in range(config.n_layer):
        x = block(x, params, f"layer{i}", config)
    return linear(x, params["lm_head"])


# %% Loss
PADDING = -1  # no token: as a target it says that there is nothing to predict


def pad(batch):
    """Return the documents of a batch as one array (B, T + 1), with PADDING to the right of shorter ones."""
    longest = max(len(doc) for doc in batch)
    return mx.array([doc + [PADDING] * (longest - len(doc)) for doc in batch])


def loss_fn(params, batch, config):
    """Return the mean cross-entropy over the tokens of a padded batch.

    As an input, padding may look up any embedding (-1 is the last): the causal mask hides it from the real tokens on
    its left.
    """
    logits = gpt(params, batch[:, :-1], config)  # (B, T, V)
    targets = batch[:, 1:]
    log_probs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    losses = -mx.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]  # (B, T)
    real = targets != PADDING
    return mx.sum(losses * real) / mx.sum(real)


# %% Gradients
loss_and_grads = mx.value_and_grad(loss_fn)  # a new function: (params, batch, config) -> loss, d loss / d params


# %% Optimizer
class State(NamedTuple):
    """All that a step changes: weights and Adam's two running means, matrices by name, and the steps taken."""

    params: dict[str, mx.array]
    adam_m: dict[str, mx.array]
    adam_v: dict[str, mx.array]
    step: int


def init_state(params, dtype=mx.float32):
    params = {name: mx.array(rows, dtype) for name, rows in params.items()}
    return State(params, tree_map(mx.zeros_like, params), tree_map(mx.zeros_like, params), step=0)


def schedule(step, config):
    """Return the learning rate of a step: half a cosine, from its first value down towards 0."""
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.num_steps))


def adam_step(state, grads, learning_rate, config):
    """Return the state after moving each weight against its gradient, by Adam (Kingma & Ba 2015)."""
    if config.clip_grad:
        norm = mx.sqrt(sum(mx.sum(mx.square(grad)) for grad in grads.values()))
        clip = mx.minimum(1, config.clip_grad / (norm + 1e-6))
        grads = tree_map(lambda grad: grad * clip, grads)
    step = state.step + 1
    adam_m = tree_map(lambda m, grad: config.beta1 * m + (1 - config.beta1) * grad, state.adam_m, grads)
    adam_v = tree_map(lambda v, grad: config.beta2 * v + (1 - config.beta2) * grad * grad, state.adam_v, grads)

    def move(w, m, v):
        m_hat = m / (1 - config.beta1**step)  # both means start at 0 and are too small at first
        v_hat = v / (1 - config.beta2**step)
        return w - learning_rate * m_hat / (mx.sqrt(v_hat) + config.eps_adam)

    return State(tree_map(move, state.params, adam_m, adam_v), adam_m, adam_v, step)


# %% Training
CONFIG = Config()


def train_step(state, batch, config):
    """Return the state after one step on a padded batch, and the mean loss over its tokens before the step."""
    loss, grads = loss_and_grads(state.params, batch, config)
    return adam_step(state, grads, schedule(state.step, config), config), loss


# %% Inference
def generate(state, bos, rng, config):
    """Return tokens drawn one by one, each by the probabilities that those before it give, until BOS or block_size."""
    tokens = [bos]
    while len(tokens) <= config.block_size:
        logits = gpt(state.params, mx.array([tokens]), config)[0, -1]
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
    for step in range(CONFIG.num_steps):
        batch = [docs[(step * CONFIG.batch_size + b) % len(docs)] for b in range(CONFIG.batch_size)]
        tokens = [tokenizer.encode(doc)[: CONFIG.block_size + 1] for doc in batch]
        state, loss = train_step(state, pad(tokens), CONFIG)
        mx.eval(state, loss)  # computes what the step described, all at once: loss.item() alone would put Adam off
        print(f"step {step + 1:4d} / {CONFIG.num_steps:4d} | loss {loss.item():.4f}")
    for i in range(20):
        print(f"sample {i + 1:2d}: {tokenizer.decode(generate(state, tokenizer.bos, rng, CONFIG))}")


if __name__ == "__main__":
    main()
