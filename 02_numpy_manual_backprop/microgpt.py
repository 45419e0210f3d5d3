"""microGPT in NumPy: whole matrices at once, and every gradient derived and written by hand.

Trains on names, a document a step, and prints 20 new ones: `uv run python microgpt.py`.
The model and the algorithm follow Andrej Karpathy's microGPT.
"""

import math
import random
from dataclasses import dataclass
from pathlib import Path

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
# One document at a time: x is (T, C). Beside its result a function returns what its gradient will need again.
def linear(x, w):
    return x @ w.T


def softmax(logits):
    """Turn scores into probabilities. Subtracting the largest changes no result and keeps exp from overflowing."""
    exps = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def rmsnorm(x):
    """Scale each row to a root mean square of 1 (Zhang & Sennrich 2019), without weights."""
    scale = (np.vecdot(x, x)[:, None] / x.shape[1] + 1e-5) ** -0.5  # (T, 1)
    return x * scale, scale


def attention(x, params, layer, config, past=None):
    """Let each position gather from itself and those before it (Vaswani et al. 2017)."""
    q, k, v = (split_heads(linear(x, params[f"{layer}.attn_{w}"]), config) for w in ("wq", "wk", "wv"))
    if past:  # while sampling: what this function saved for the tokens before x, keys and values first
        k, v = (np.concatenate(parts, axis=1) for parts in zip(past[:2], (k, v)))  # (H, S, D)
    attn_scores = q @ k.transpose(0, 2, 1) * q.shape[2] ** -0.5  # (H, T, S): S = T, or more after a past
    attn_scores[:, *np.triu_indices(len(x), 1 + k.shape[1] - len(x), k.shape[1])] = -np.inf  # causal: nothing later
    attn_weights = softmax(attn_scores)
    attn_out = merge_heads(attn_weights @ v)  # (T, C)
    return linear(attn_out, params[f"{layer}.attn_wo"]), (k, v, q, x, attn_weights, attn_out)


def split_heads(x, config):
    return x.reshape(len(x), config.n_head, -1).transpose(1, 0, 2)  # (T, C) -> (H, T, D)


def merge_heads(x):
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)  # (H, T, D) -> (T, C)


def mlp(x, params, layer):
    """Work on each position by itself: widen to 4C, squared ReLU (So et al. 2021), back to C."""
    relu = np.maximum(linear(x, params[f"{layer}.mlp_fc1"]), 0)  # (T, 4C)
    h = relu * relu
    return linear(h, params[f"{layer}.mlp_fc2"]), (x, relu, h)


def block(x, params, layer, config, past=None):
    x_normed, x_scale = rmsnorm(x)
    attn_out, attn_saved = attention(x_normed, params, layer, config, past and past[0])
    residual = x + attn_out
    residual_normed, residual_scale = rmsnorm(residual)
    mlp_out, mlp_saved = mlp(residual_normed, params, layer)
    return residual + mlp_out, (attn_saved, x_normed, x_scale, mlp_saved, residual_normed, residual_scale)


def gpt(params, tokens, config, start=0, past=None):
    """Return logits (T, V): after each token, a score for every token that may come next. For past see generate."""
    tok_emb, pos_emb = params["wte"][tokens], params["wpe"][start : start + len(tokens)]
    x, scale = rmsnorm(tok_emb + pos_emb)
    saved = [(tokens, x, scale)]
    for i in range(config.n_layer):
        x, block_saved = block(x, params, f"layer{i}", config, past and past[i])
        saved.append(block_saved)
    return linear(x, params["lm_head"]), (*saved, x)


# %% Loss
def loss_fn(params, doc, n_tokens, config):
    """Return one document's share of the batch's mean cross-entropy: n_tokens counts the whole batch's predictions."""
    logits, gpt_saved = gpt(params, doc[:-1], config)
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    targets = np.arange(len(log_probs)), doc[1:]
    return -log_probs[targets].sum() / n_tokens, (log_probs, targets, n_tokens, gpt_saved)


# %% Gradients
# d + name is d loss / d name. Weights are used once a document, so their gradients are added to `grads`.
def linear_backward(dy, x, w, dw):
    """y = x wᵀ, y_to = Σ_i x_ti w_oi: each x_ti reaches all y_to through w_oi, each w_oi all t through x_ti."""
    dw += dy.T @ x
    return dy @ w


def softmax_backward(dp, p):
    """p_i = e^s_i / Σ_j e^s_j, so d p_i / d s_j = p_i ([i = j] - p_j), ds_j = p_j (dp_j - Σ_i dp_i p_i); masked: 0."""
    return p * (dp - np.vecdot(dp, p)[..., None])


def rmsnorm_backward(dy, y, scale):
    """y = s x, s = (Σ x_i² / C + ε)^-½, so d s / d x_j = -s³ x_j / C and dx_j = s (dy_j - y_j Σ_i dy_i y_i / C)."""
    return scale * (dy - y * np.vecdot(dy, y)[:, None] / y.shape[1])


def attention_backward(dout, saved, params, grads, layer, config):
    """In each head attn_out = attn_weights v and attn_scores = q kᵀ / √D: products, so as in linear_backward."""
    k, v, q, x, attn_weights, attn_out = saved
    dattn_out = linear_backward(dout, attn_out, params[f"{layer}.attn_wo"], grads[f"{layer}.attn_wo"])
    dattn_out = split_heads(dattn_out, config)  # (H, T, D)
    dattn_weights = dattn_out @ v.transpose(0, 2, 1)  # (H, T, T)
    dattn_scores = softmax_backward(dattn_weights, attn_weights) * q.shape[2] ** -0.5
    dq, dk = dattn_scores @ k, dattn_scores.transpose(0, 2, 1) @ q
    dv = attn_weights.transpose(0, 2, 1) @ dattn_out
    dys = (("wq", merge_heads(dq)), ("wk", merge_heads(dk)), ("wv", merge_heads(dv)))  # of three products with one x
    return sum(linear_backward(dy, x, params[f"{layer}.attn_{w}"], grads[f"{layer}.attn_{w}"]) for w, dy in dys)


def mlp_backward(dout, saved, params, grads, layer):
    """h = max(0, a)², so da = dh · 2 max(0, a)."""
    x, relu, h = saved
    dh = linear_backward(dout, h, params[f"{layer}.mlp_fc2"], grads[f"{layer}.mlp_fc2"])
    return linear_backward(dh * 2 * relu, x, params[f"{layer}.mlp_fc1"], grads[f"{layer}.mlp_fc1"])


def block_backward(dout, saved, params, grads, layer, config):
    """y = x + f(norm(x)): the gradient takes both ways, so dx = dy + what comes back through f and norm."""
    attn_saved, x_normed, x_scale, mlp_saved, residual_normed, residual_scale = saved
    dresidual_normed = mlp_backward(dout, mlp_saved, params, grads, layer)
    dresidual = dout + rmsnorm_backward(dresidual_normed, residual_normed, residual_scale)
    dx_normed = attention_backward(dresidual, attn_saved, params, grads, layer, config)
    return dresidual + rmsnorm_backward(dx_normed, x_normed, x_scale)


def backward(saved, params, grads, config):
    """Add one document's gradients to `grads`, last operation first. -log softmax(s)_target has ds = p - one_hot."""
    log_probs, targets, n_tokens, ((tokens, x_embedded, scale), *block_saved, x) = saved
    dlogits = np.exp(log_probs)
    dlogits[targets] -= 1
    dx = linear_backward(dlogits / n_tokens, x, params["lm_head"], grads["lm_head"])
    for i in reversed(range(config.n_layer)):
        dx = block_backward(dx, block_saved[i], params, grads, f"layer{i}", config)
    dx = rmsnorm_backward(dx, x_embedded, scale)
    grads["wpe"][: len(tokens)] += dx
    np.add.at(grads["wte"], tokens, dx)  # not wte[tokens] += dx: that would count a repeated token once


# %% Optimizer
def named_views(flat, shapes):
    """Return the matrices of the given shapes that stand one after the other in a flat vector, sharing its memory."""
    ends = np.cumsum([n_out * n_in for n_out, n_in in shapes.values()])
    return {name: part.reshape(shapes[name]) for name, part in zip(shapes, np.split(flat, ends[:-1]))}


class State:
    """Weights, gradients and Adam's two running means, each one flat vector so that Adam moves all in one go."""

    def __init__(self, params, dtype=np.float64):
        self.shapes = {name: np.shape(rows) for name, rows in params.items()}
        self.weights = np.concatenate([np.ravel(np.asarray(rows, dtype)) for rows in params.values()])
        self.gradients, self.adam_m, self.adam_v, self.buffer = np.zeros((4, len(self.weights)), dtype)
        self.params, self.grads = named_views(self.weights, self.shapes), named_views(self.gradients, self.shapes)
        self.step = 0


def adam_step(state, config):
    """Move each weight against its gradient, by Adam (Kingma & Ba 2015). New arrays would cost more than the sums."""
    gradients, m, v, buffer = state.gradients, state.adam_m, state.adam_v, state.buffer
    if config.clip_grad:
        gradients *= min(1.0, config.clip_grad / (math.sqrt(gradients @ gradients) + 1e-6))
    learning_rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * state.step / config.num_steps))
    state.step += 1
    m += np.multiply(np.subtract(gradients, m, out=buffer), 1 - config.beta1, out=buffer)
    v += np.multiply(np.subtract(np.square(gradients, out=buffer), v, out=buffer), 1 - config.beta2, out=buffer)
    v_hat = np.divide(v, 1 - config.beta2**state.step, out=buffer)  # both means start at 0 and are too small at first
    root = np.add(np.sqrt(v_hat, out=buffer), config.eps_adam, out=buffer)
    step_size = learning_rate / (1 - config.beta1**state.step)
    state.weights -= np.multiply(np.divide(m, root, out=buffer), step_size, out=buffer)


# %% Training
CONFIG = Config()


def train_step(state, batch, config):
    """Take one step on a batch, a document at a time, and return the mean loss over its tokens before the step."""
    n_tokens = sum(len(doc) - 1 for doc in batch)
    batch_loss, state.gradients[:] = 0.0, 0.0
    for doc in batch:
        loss, saved = loss_fn(state.params, doc, n_tokens, config)
        backward(saved, state.params, state.grads, config)
        batch_loss += loss
    adam_step(state, config)
    return float(batch_loss)


# %% Inference
def generate(state, bos, rng, config):
    """Return tokens drawn one by one, each by the probabilities that those before it give, until BOS or block_size."""
    tokens, past = [bos], None
    while len(tokens) <= config.block_size:
        logits, (_, *past, _) = gpt(state.params, tokens[-1:], config, len(tokens) - 1, past)  # past: the blocks' saved
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
