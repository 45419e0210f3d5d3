"""microGPT in NumPy: whole matrices at once, and every gradient derived and written by hand.

Trains on names, a document a step, and prints 20 new ones: `uv run python microgpt.py`.
The model and the algorithm follow Andrej Karpathy's microGPT.
"""

import math
import random
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

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
# One document at a time: x is (T, C). Beside its result, a function returns what its gradient will need again, unless
# the caller has that anyway.
class Saved(SimpleNamespace):
    """What the forward pass leaves for the backward pass, by name: after saved = Saved(q=q), saved.q is q."""


def linear(x, w):
    return x @ w.T


def softmax(logits):
    """Turn scores into probabilities. Subtracting the largest changes no result and keeps exp from overflowing."""
    exps = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def rmsnorm(x):
    """Scale each row to a root mean square of 1 (Zhang & Sennrich 2019), without weights."""
    C = x.shape[-1]
    scale = (np.square(x).sum(axis=-1, keepdims=True) / C + 1e-5) ** -0.5  # (T, 1)
    y = x * scale
    return y, Saved(y=y, scale=scale)


def attention(x, params, layer, config):
    """Let each position gather from itself and those before it (Vaswani et al. 2017)."""
    T, C = x.shape
    D = C // config.n_head
    q, k, v = (split_heads(linear(x, params[f"{layer}.attn_{w}"]), config) for w in ("wq", "wk", "wv"))  # (H, T, D)
    attn_scores = q @ k.swapaxes(-1, -2) * D**-0.5  # (H, T, T)
    # causal: what comes later is to be predicted, not seen
    attn_scores = np.where(np.tri(T, dtype=bool), attn_scores, -np.inf)
    attn_weights = softmax(attn_scores)
    attn_out = merge_heads(attn_weights @ v)  # (T, C)
    saved = Saved(x=x, q=q, k=k, v=v, attn_weights=attn_weights, attn_out=attn_out)
    return linear(attn_out, params[f"{layer}.attn_wo"]), saved


def split_heads(x, config):
    return x.reshape(len(x), config.n_head, -1).swapaxes(0, 1)  # (T, C) -> (H, T, D)


def merge_heads(x):
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)  # (H, T, D) -> (T, C)


def mlp(x, params, layer):
    """Work on each position by itself: widen to 4C, squared ReLU (So et al. 2021), back to C."""
    relu = np.maximum(linear(x, params[f"{layer}.mlp_fc1"]), 0)  # (T, 4C)
    h = np.square(relu)
    return linear(h, params[f"{layer}.mlp_fc2"]), Saved(x=x, relu=relu, h=h)


def block(x, params, layer, config):
    normed, norm1_saved = rmsnorm(x)
    attn_out, attn_saved = attention(normed, params, layer, config)
    residual = x + attn_out
    normed, norm2_saved = rmsnorm(residual)
    mlp_out, mlp_saved = mlp(normed, params, layer)
    return residual + mlp_out, Saved(norm1=norm1_saved, attn=attn_saved, norm2=norm2_saved, mlp=mlp_saved)


def gpt(params, tokens, config):
    """Return logits (T, V): after each of the T tokens, a score for every token that may come next."""
    tok_emb, pos_emb = params["wte"][tokens], params["wpe"][: len(tokens)]
    x, norm_saved = rmsnorm(tok_emb + pos_emb)
    blocks_saved = []
    for i in range(config.n_layer):
        x, block_saved = block(x, params, f"layer{i}", config)
        blocks_saved.append(block_saved)
    return linear(x, params["lm_head"]), Saved(tokens=tokens, norm=norm_saved, blocks=blocks_saved, x=x)


# %% Loss
def loss_fn(params, doc, n_tokens, config):
    """Return one document's share of the batch's mean cross-entropy: n_tokens counts the whole batch's predictions."""
    tokens, targets = np.array(doc[:-1]), np.array(doc[1:])
    logits, gpt_saved = gpt(params, tokens, config)
    logits = logits - logits.max(axis=-1, keepdims=True)  # as in softmax
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    loss = -log_probs[np.arange(len(targets)), targets].sum() / n_tokens
    return loss, Saved(log_probs=log_probs, targets=targets, n_tokens=n_tokens, gpt=gpt_saved)


# %% Gradients
# dx is d loss / d x, for any x. linear_backward takes the gradient of linear's result and returns that of its input x;
# the others likewise. A weight serves every document of a batch, so its gradients are added up in `grads`. The README
# derives each formula.
def linear_backward(dy, x, w, dw):
    """dx_ti = Σ_o dy_to w_oi
    dw_oi = Σ_t dy_to x_ti

    for position t, input i and output o; dw is added to, since each document adds its own.
    """
    dw += dy.T @ x
    return dy @ w


def softmax_backward(dprobs, probs):
    """dlogits_j = probs_j (dprobs_j - Σ_i dprobs_i probs_i)"""
    return probs * (dprobs - (dprobs * probs).sum(axis=-1, keepdims=True))


def rmsnorm_backward(dy, saved):
    """dx_j = scale (dy_j - y_j Σ_i dy_i y_i / C)"""
    C = dy.shape[-1]
    return saved.scale * (dy - saved.y * (dy * saved.y).sum(axis=-1, keepdims=True) / C)


def attention_backward(dout, saved, params, grads, layer, config):
    """In each head:

    dv = attn_weightsᵀ dattn_out
    dattn_weights = dattn_out vᵀ
    dq = dattn_scores k / √D
    dk = dattn_scoresᵀ q / √D
    """
    D = saved.q.shape[-1]
    dattn_out = linear_backward(dout, saved.attn_out, params[f"{layer}.attn_wo"], grads[f"{layer}.attn_wo"])
    dattn_out = split_heads(dattn_out, config)  # (H, T, D)
    dv = saved.attn_weights.swapaxes(-1, -2) @ dattn_out  # (H, T, D)
    dattn_weights = dattn_out @ saved.v.swapaxes(-1, -2)  # (H, T, T)
    dattn_scores = softmax_backward(dattn_weights, saved.attn_weights)  # 0 where a score is masked
    dq = dattn_scores @ saved.k * D**-0.5
    dk = dattn_scores.swapaxes(-1, -2) @ saved.q * D**-0.5
    dx = np.zeros_like(saved.x)
    for w, dy in (("wq", dq), ("wk", dk), ("wv", dv)):  # x served all three
        dx += linear_backward(merge_heads(dy), saved.x, params[f"{layer}.attn_{w}"], grads[f"{layer}.attn_{w}"])
    return dx


def mlp_backward(dout, saved, params, grads, layer):
    """da = 2 max(a, 0) dh, where a is what fc1 returns and h = max(a, 0)²"""
    dh = linear_backward(dout, saved.h, params[f"{layer}.mlp_fc2"], grads[f"{layer}.mlp_fc2"])
    da = 2 * saved.relu * dh
    return linear_backward(da, saved.x, params[f"{layer}.mlp_fc1"], grads[f"{layer}.mlp_fc1"])


def block_backward(dout, saved, params, grads, layer, config):
    """dx = dout + what comes back through f, for out = x + f(x), where f is a norm and then mlp or attention"""
    dnormed = mlp_backward(dout, saved.mlp, params, grads, layer)
    dresidual = dout + rmsnorm_backward(dnormed, saved.norm2)
    dnormed = attention_backward(dresidual, saved.attn, params, grads, layer, config)
    return dresidual + rmsnorm_backward(dnormed, saved.norm1)


def gpt_backward(dlogits, saved, params, grads, config):
    dx = linear_backward(dlogits, saved.x, params["lm_head"], grads["lm_head"])
    for i in reversed(range(config.n_layer)):
        dx = block_backward(dx, saved.blocks[i], params, grads, f"layer{i}", config)
    demb = rmsnorm_backward(dx, saved.norm)
    grads["wpe"][: len(saved.tokens)] += demb
    np.add.at(grads["wte"], saved.tokens, demb)  # not wte[tokens] += demb: that would count a repeated token once


def backward(saved, params, grads, config):
    """Add one document's gradients to `grads`. The first is dlogits = (probs - one_hot(target)) / n_tokens."""
    dlogits = np.exp(saved.log_probs)
    dlogits[np.arange(len(saved.targets)), saved.targets] -= 1
    dlogits /= saved.n_tokens
    gpt_backward(dlogits, saved.gpt, params, grads, config)


# %% Optimizer
class Matrices(dict):
    """Matrices by name, at first of zeros. All are views of one flat vector, so that Adam moves them in one go."""

    def __init__(self, shapes, dtype):
        self.vector = np.zeros(sum(n_out * n_in for n_out, n_in in shapes.values()), dtype)
        start = 0
        for name, (n_out, n_in) in shapes.items():
            self[name] = self.vector[start : start + n_out * n_in].reshape(n_out, n_in)
            start += n_out * n_in


class State:
    """The weights, their gradients, Adam's two running means for each of them, and the number of steps taken."""

    def __init__(self, params, dtype=np.float64):
        shapes = {name: np.shape(rows) for name, rows in params.items()}
        self.params = Matrices(shapes, dtype)
        for name, rows in params.items():
            self.params[name][:] = rows
        self.grads = Matrices(shapes, dtype)
        self.adam_m = Matrices(shapes, dtype)
        self.adam_v = Matrices(shapes, dtype)
        self.step = 0


def adam_step(state, config):
    """Move each weight against its gradient, by Adam (Kingma & Ba 2015), and reset the gradients."""
    grad = state.grads.vector
    if config.clip_grad:
        norm = math.sqrt(np.sum(np.square(grad)))
        grad = grad * min(1.0, config.clip_grad / (norm + 1e-6))
    learning_rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * state.step / config.num_steps))
    state.step += 1
    m = config.beta1 * state.adam_m.vector + (1 - config.beta1) * grad
    v = config.beta2 * state.adam_v.vector + (1 - config.beta2) * grad * grad
    m_hat = m / (1 - config.beta1**state.step)  # both means start at 0 and are too small at first
    v_hat = v / (1 - config.beta2**state.step)
    state.params.vector -= learning_rate * m_hat / (np.sqrt(v_hat) + config.eps_adam)
    state.adam_m.vector[:] = m
    state.adam_v.vector[:] = v
    state.grads.vector[:] = 0.0


# %% Training
CONFIG = Config()


def train_step(state, batch, config):
    """Take one step on a batch, a document at a time, and return the mean loss over its tokens before the step."""
    n_tokens = sum(len(doc) - 1 for doc in batch)
    batch_loss = 0.0
    for doc in batch:
        loss, saved = loss_fn(state.params, doc, n_tokens, config)
        backward(saved, state.params, state.grads, config)
        batch_loss += loss
    adam_step(state, config)
    return batch_loss


# %% Inference
def generate(state, bos, rng, config):
    """Return tokens drawn one by one, each by the probabilities that those before it give, until BOS or block_size."""
    tokens = [bos]
    while len(tokens) <= config.block_size:
        logits, _ = gpt(state.params, tokens, config)
        probs = softmax(logits[-1] / config.temperature)
        token = rng.choices(range(len(probs)), weights=probs.tolist())[0]
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
        print(f"step {step + 1:4d} / {CONFIG.num_steps:4d} | loss {train_step(state, tokens, CONFIG):.4f}")
    for i in range(20):
        print(f"sample {i + 1:2d}: {tokenizer.decode(generate(state, tokenizer.bos, rng, CONFIG))}")


if __name__ == "__main__":
    main()
