"""The lesson's model and gradients once more, as loops that Numba compiles: `main.py --backend numba`.

Read microgpt.py first: a function here computes what its namesake there does, and only what differs is explained. On
matrices as small as these NumPy spends its time on calls, not on arithmetic. Compiled, all steps together are one call.

- A function writes its results into arrays that it is given (the first arguments), so that no step allocates memory.
  T is the number of rows in use: a document may be shorter than the block.
- Innermost loops run along rows, whose numbers lie side by side in memory: so the compiler can make one instruction of
  several turns of such a loop, eight in float64 on a processor with registers of 512 bits.
- Everything compiled stands in this file. Numba keeps what it compiled in __pycache__ and compiles again when this file
  changes; it would not notice a change in an imported one.
"""

import math
from collections import namedtuple
from itertools import chain

import numba
import numpy as np

# contract: a * b + c may become one instruction, rounded once. error_model: dividing by 0 gives inf or nan, like NumPy.
OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy"}
# `linear` may also add up in any order, or each of its sums would be one long chain of additions that wait for each
# other. fastmath=True would allow that too, but also that nan and inf, which tell that training went wrong, get lost.
ANY_ORDER = OPTIONS | {"fastmath": {"contract", "reassoc"}}
NOT_FROM_PYTHON = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # called in this file only: less to compile
compiled, compiled_any_order = numba.njit(**OPTIONS, **NOT_FROM_PYTHON), numba.njit(**ANY_ORDER, **NOT_FROM_PYTHON)
# A function that is called in one place only is compiled as a part of its caller, in half the time.
inlined = numba.njit(**OPTIONS, inline="always")


def compiled_and_kept(function):
    """Compile what Python calls, at its first call, and keep the result on disk for the next start."""
    try:
        return numba.njit(**OPTIONS, cache=True)(function)
    except RuntimeError:  # no folder can be written to: it works all the same and compiles at every start
        return numba.njit(**OPTIONS)(function)


# %% Parameters
# Arrays by name, and their shapes. T is block_size here; L layers stand one after the other in an array.
MATRICES = {"wte": "V C", "wpe": "T C", "lm_head": "V C"}
# wq, wk and wv are one matrix, so that q, k and v are one product with it
MATRICES |= {"attn_wqkv": "L 3C C", "attn_wo": "L C C", "mlp_fc1": "L 4C C", "mlp_fc2": "L C 4C"}
Matrices = namedtuple("Matrices", MATRICES)  # all weights, or all gradients: views of one flat vector

# what one document's forward pass leaves for its backward pass
SAVED = {"x_embedded": "T C", "scale": "T", "x_normed": "L T C", "x_scale": "L T", "qkv": "L T 3C"}
SAVED |= {"attn_weights": "L H T T", "attn_out": "L T C", "residual_normed": "L T C", "residual_scale": "L T"}
SAVED |= {"relu": "L T 4C", "h": "L T 4C", "x": "T C", "logits": "T V", "probs": "T V"}
# and what both compute on their way
SAVED |= {"out": "T C", "dx": "T C", "dnormed": "T C", "dattn_out": "T C", "dqkv": "T 3C", "dh": "T 4C"}
Saved = namedtuple("Saved", SAVED)


# %% Model
@compiled_any_order
def linear(y, x, w, T):
    """y = x wᵀ. Four outputs at a time: each number of x is fetched once for four products."""
    n_out, n_in = w.shape
    zero = y.dtype.type(0)  # a bare 0.0 would be float64 and so would be every sum
    for o in range(0, n_out - 3, 4):
        for t in range(T):
            a = b = c = d = zero
            for i in range(n_in):
                a += x[t, i] * w[o, i]
                b += x[t, i] * w[o + 1, i]
                c += x[t, i] * w[o + 2, i]
                d += x[t, i] * w[o + 3, i]
            y[t, o], y[t, o + 1], y[t, o + 2], y[t, o + 3] = a, b, c, d
    for o in range(n_out - n_out % 4, n_out):  # what is left, as of V = 27
        for t in range(T):
            a = zero
            for i in range(n_in):
                a += x[t, i] * w[o, i]
            y[t, o] = a


@compiled
def linear_backward(dx, dw, dy, x, w, T):
    """dx = dy w, dw += dyᵀ x. As sums of rows these need no reordering. Four rows at a time, as above."""
    n_out, n_in = w.shape
    dx[:T] = 0
    for o in range(0, n_out - 3, 4):
        for t in range(T):
            a, b, c, d = dy[t, o], dy[t, o + 1], dy[t, o + 2], dy[t, o + 3]
            for i in range(n_in):
                dx[t, i] += a * w[o, i] + b * w[o + 1, i] + c * w[o + 2, i] + d * w[o + 3, i]
        for t in range(T):
            a, b, c, d = dy[t, o], dy[t, o + 1], dy[t, o + 2], dy[t, o + 3]
            for i in range(n_in):
                dw[o, i] += a * x[t, i]
                dw[o + 1, i] += b * x[t, i]
                dw[o + 2, i] += c * x[t, i]
                dw[o + 3, i] += d * x[t, i]
    for o in range(n_out - n_out % 4, n_out):
        for t in range(T):
            for i in range(n_in):
                dx[t, i] += dy[t, o] * w[o, i]
                dw[o, i] += dy[t, o] * x[t, i]


@compiled
def softmax(probs, scores, n):
    """Turn the first n scores into probabilities and return the log of their denominator, Σ e^score."""
    largest = scores[0]
    for i in range(1, n):
        largest = max(largest, scores[i])
    total = scores.dtype.type(0)
    for i in range(n):
        probs[i] = math.exp(scores[i] - largest)
        total += probs[i]
    for i in range(n):
        probs[i] /= total
    return largest + math.log(total)


@compiled
def rmsnorm(y, scale, x, T):
    C = x.shape[1]
    for t in range(T):
        mean_square = 0.0
        for i in range(C):
            mean_square += x[t, i] * x[t, i] / C
        scale[t] = (mean_square + 1e-5) ** -0.5
        for i in range(C):
            y[t, i] = x[t, i] * scale[t]


@compiled
def rmsnorm_backward(dx, dy, y, scale, T):
    """dx += what comes back through the norm: x also goes on past it, but for the first norm, where dx starts at 0."""
    C = y.shape[1]
    for t in range(T):
        total = y.dtype.type(0)
        for i in range(C):
            total += dy[t, i] * y[t, i]
        total /= y.dtype.type(C)
        for i in range(C):
            dx[t, i] += scale[t] * (dy[t, i] - y[t, i] * total)


@inlined
def attention(out, attn_out, attn_weights, qkv, x, wqkv, wo, T):
    """A head's q, k and v are D columns of qkv: to split heads is to know where they start."""
    H, C = len(attn_weights), x.shape[1]
    D = C // H
    root = x.dtype.type(D**-0.5)
    linear(qkv, x, wqkv, T)
    attn_out[:T] = 0
    for head in range(H):
        q, k, v = head * D, C + head * D, 2 * C + head * D  # its first columns
        for t in range(T):
            weights = attn_weights[head, t]
            for s in range(t + 1):  # causal: what comes after t is not even computed
                attn_score = x.dtype.type(0)
                for d in range(D):
                    attn_score += qkv[t, q + d] * qkv[s, k + d]
                weights[s] = attn_score * root
            softmax(weights, weights, t + 1)
            for s in range(t + 1):
                for d in range(D):
                    attn_out[t, q + d] += weights[s] * qkv[s, v + d]
    linear(out, attn_out, wo, T)


@inlined
def attention_backward(dx, dwqkv, dwo, dout, dqkv, dattn_out, attn_out, attn_weights, qkv, x, wqkv, wo, T):
    H, C = len(attn_weights), x.shape[1]
    D = C // H
    root = x.dtype.type(D**-0.5)
    linear_backward(dattn_out, dwo, dout, attn_out, wo, T)
    dqkv[:T] = 0
    for head in range(H):
        q, k, v = head * D, C + head * D, 2 * C + head * D
        for t in range(T):
            total = x.dtype.type(0)  # Σ_s dw_s w_s of softmax's gradient is Σ_d dout_d out_d, for out = Σ_s w_s v_s
            for d in range(D):
                total += dattn_out[t, q + d] * attn_out[t, q + d]
            for s in range(t + 1):
                weight = attn_weights[head, t, s]
                dweight = x.dtype.type(0)
                for d in range(D):
                    dweight += dattn_out[t, q + d] * qkv[s, v + d]
                    dqkv[s, v + d] += dattn_out[t, q + d] * weight
                dattn_score = weight * (dweight - total) * root
                for d in range(D):
                    dqkv[t, q + d] += dattn_score * qkv[s, k + d]
                    dqkv[s, k + d] += dattn_score * qkv[t, q + d]
    linear_backward(dx, dwqkv, dqkv, x, wqkv, T)


@inlined
def mlp(out, h, relu, x, fc1, fc2, T):
    linear(relu, x, fc1, T)
    for t in range(T):
        for j in range(relu.shape[1]):
            relu[t, j] = max(relu[t, j], 0)  # in this order nan stays nan
            h[t, j] = relu[t, j] * relu[t, j]
    linear(out, h, fc2, T)


@inlined
def mlp_backward(dx, dfc1, dfc2, dout, dh, h, relu, x, fc1, fc2, T):
    linear_backward(dh, dfc2, dout, h, fc2, T)
    for t in range(T):
        for j in range(relu.shape[1]):
            dh[t, j] *= relu[t, j] + relu[t, j]
    linear_backward(dx, dfc1, dh, x, fc1, T)


@compiled
def add(x, out, T):
    for t in range(T):
        for i in range(x.shape[1]):
            x[t, i] += out[t, i]


@inlined
def block(x, params, saved, i, T):
    """Layer i, in place: no gradient needs x itself again, only what the norms made of it."""
    x_normed, residual_normed, out = saved.x_normed[i], saved.residual_normed[i], saved.out
    attn_out, attn_weights, qkv, h, relu = (
        saved.attn_out[i],
        saved.attn_weights[i],
        saved.qkv[i],
        saved.h[i],
        saved.relu[i],
    )
    rmsnorm(x_normed, saved.x_scale[i], x, T)
    attention(out, attn_out, attn_weights, qkv, x_normed, params.attn_wqkv[i], params.attn_wo[i], T)
    add(x, out, T)
    rmsnorm(residual_normed, saved.residual_scale[i], x, T)
    mlp(out, h, relu, residual_normed, params.mlp_fc1[i], params.mlp_fc2[i], T)
    add(x, out, T)


@inlined
def block_backward(dx, params, grads, saved, i, T):
    x_normed, residual_normed, dnormed = saved.x_normed[i], saved.residual_normed[i], saved.dnormed
    h, relu, dh = saved.h[i], saved.relu[i], saved.dh
    fc1, fc2, dfc1, dfc2 = params.mlp_fc1[i], params.mlp_fc2[i], grads.mlp_fc1[i], grads.mlp_fc2[i]
    mlp_backward(dnormed, dfc1, dfc2, dx, dh, h, relu, residual_normed, fc1, fc2, T)
    rmsnorm_backward(dx, dnormed, residual_normed, saved.residual_scale[i], T)
    attn_out, attn_weights, qkv, dqkv = saved.attn_out[i], saved.attn_weights[i], saved.qkv[i], saved.dqkv
    wqkv, wo, dwqkv, dwo = params.attn_wqkv[i], params.attn_wo[i], grads.attn_wqkv[i], grads.attn_wo[i]
    attention_backward(
        dnormed, dwqkv, dwo, dx, dqkv, saved.dattn_out, attn_out, attn_weights, qkv, x_normed, wqkv, wo, T
    )
    rmsnorm_backward(dx, dnormed, x_normed, saved.x_scale[i], T)


@inlined
def gpt(params, tokens, saved, T):
    x, x_embedded, wte, wpe = saved.x, saved.x_embedded, params.wte, params.wpe
    for t in range(T):
        for i in range(x.shape[1]):
            x[t, i] = wte[tokens[t], i] + wpe[t, i]
    rmsnorm(x_embedded, saved.scale, x, T)
    for t in range(T):
        for i in range(x.shape[1]):
            x[t, i] = x_embedded[t, i]
    for layer in range(len(params.attn_wo)):
        block(x, params, saved, layer, T)
    linear(saved.logits, x, params.lm_head, T)


# %% Loss
@inlined
def loss_fn(params, doc, n_tokens, saved):
    """-log softmax(logits)_target is log Σ e^logit - logit_target."""
    T = len(doc) - 1
    gpt(params, doc, saved, T)
    loss = 0.0
    probs, logits = saved.probs, saved.logits
    for t in range(T):
        loss += softmax(probs[t], logits[t], logits.shape[1]) - logits[t, doc[t + 1]]
    return loss / n_tokens


# %% Gradients
@inlined
def backward(params, grads, doc, n_tokens, saved):
    T = len(doc) - 1
    dlogits, dx, dnormed, dwte, dwpe = saved.probs, saved.dx, saved.dnormed, grads.wte, grads.wpe
    for t in range(T):
        dlogits[t, doc[t + 1]] -= 1
        for i in range(dlogits.shape[1]):
            dlogits[t, i] /= n_tokens
    linear_backward(dx, grads.lm_head, dlogits, saved.x, params.lm_head, T)
    for layer in range(len(params.attn_wo) - 1, -1, -1):
        block_backward(dx, params, grads, saved, layer, T)
    dnormed[:T] = 0
    rmsnorm_backward(dnormed, dx, saved.x_embedded, saved.scale, T)
    for t in range(T):
        for i in range(dx.shape[1]):
            dwpe[t, i] += dnormed[t, i]
            dwte[doc[t], i] += dnormed[t, i]


# %% Optimizer
Adam = namedtuple("Adam", "learning_rate beta1 beta2 eps_adam clip_grad num_steps")  # what it needs of Config


@inlined
def adam_step(weights, flat_grads, adam_m, adam_v, step, adam):
    """One pass over the memory for all of Adam. What is the same for every weight is computed once, before it."""
    number = weights.dtype.type
    clip = 1.0
    if adam.clip_grad > 0:
        square = 0.0
        for grad in flat_grads:
            square += grad * grad
        clip = min(1.0, adam.clip_grad / (math.sqrt(square) + 1e-6))
    learning_rate = adam.learning_rate * 0.5 * (1 + math.cos(math.pi * step / adam.num_steps))
    m_rate = number(learning_rate / (1 - adam.beta1 ** (step + 1.0)))
    v_scale = number(1 / (1 - adam.beta2 ** (step + 1.0)))
    beta1, rest1 = number(adam.beta1), number(1 - adam.beta1)
    beta2, rest2 = number(adam.beta2), number(1 - adam.beta2)
    clip, eps = number(clip), number(adam.eps_adam)
    for i in range(len(weights)):
        grad = flat_grads[i] * clip
        adam_m[i] = beta1 * adam_m[i] + rest1 * grad
        adam_v[i] = beta2 * adam_v[i] + rest2 * grad * grad
        weights[i] -= m_rate * adam_m[i] / (math.sqrt(adam_v[i] * v_scale) + eps)


# %% Training
@inlined
def train_step(weights, flat_grads, adam_m, adam_v, params, grads, saved, tokens, ends, first, last, step, adam, learn):
    """Take a step on documents first to last - 1, the d-th of which is tokens[ends[d] : ends[d + 1]]; return the loss.

    If not `learn` it is for the loss and the logits only: so there is one thing to compile, not three.
    """
    n_tokens = weights.dtype.type(ends[last] - ends[first] - (last - first))
    batch_loss = 0.0
    flat_grads[:] = 0
    for d in range(first, last):
        doc = tokens[ends[d] : ends[d + 1]]
        batch_loss += loss_fn(params, doc, n_tokens, saved)
        if learn:
            backward(params, grads, doc, n_tokens, saved)
    if learn:
        adam_step(weights, flat_grads, adam_m, adam_v, step, adam)
    return batch_loss


@compiled_and_kept
def run(losses, weights, flat_grads, adam_m, adam_v, params, grads, saved, tokens, ends, batch_ends, step, adam, learn):
    for b in range(len(losses)):
        first, last = batch_ends[b], batch_ends[b + 1]
        losses[b] = train_step(
            weights, flat_grads, adam_m, adam_v, params, grads, saved, tokens, ends, first, last, step + b, adam, learn
        )


class State:
    def __init__(self, config, vocab_size, dtype):
        sizes = {"V": vocab_size, "T": config.block_size, "C": config.n_embd, "3C": 3 * config.n_embd}
        sizes |= {"4C": 4 * config.n_embd, "H": config.n_head, "L": config.n_layer}
        self.shapes = [[sizes[axis] for axis in shape.split()] for shape in MATRICES.values()]
        self.weights, self.flat_grads, self.adam_m, self.adam_v = np.zeros((4, sum(map(math.prod, self.shapes))), dtype)
        self.params, self.grads = self.matrices(self.weights), self.matrices(self.flat_grads)
        self.saved = Saved(*(np.zeros([sizes[axis] for axis in shape.split()], dtype) for shape in SAVED.values()))
        self.step = 0

    def matrices(self, flat):
        parts = np.split(flat, np.cumsum([math.prod(shape) for shape in self.shapes])[:-1])
        return Matrices(*(part.reshape(shape) for part, shape in zip(parts, self.shapes)))


def named(matrices):
    """Return the views that carry the names of the lesson's weights."""
    views = {name: getattr(matrices, name) for name in ("wte", "wpe", "lm_head")}
    for i, wqkv in enumerate(matrices.attn_wqkv):
        views |= {f"layer{i}.attn_{w}": part for w, part in zip(("wq", "wk", "wv"), np.split(wqkv, 3))}
        views |= {f"layer{i}.{name}": getattr(matrices, name)[i] for name in ("attn_wo", "mlp_fc1", "mlp_fc2")}
    return views


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float64", device="auto"):
    state = State(config, len(params["wte"]), np.dtype(dtype))
    for flat, rows in ((state.weights, params), (state.adam_m, adam_m), (state.adam_v, adam_v)):
        for name, view in named(state.matrices(flat)).items() if rows else ():
            view[:] = rows[name]
    state.step = step
    return state


def export_state(state):
    return tuple(named(state.matrices(flat.copy())) for flat in (state.weights, state.adam_m, state.adam_v))


def call_run(state, batches, config, learn):
    """Pack the documents into one array, do it all in one call, and return each batch's loss."""
    docs = list(chain.from_iterable(batches))
    tokens = np.fromiter(chain.from_iterable(docs), np.int64)
    ends, batch_ends = (np.cumsum([0, *map(len, parts)]) for parts in (docs, batches))
    # compiled loops do not look, and would write over other memory
    if np.diff(ends).max() > config.block_size + 1 or tokens.max() >= len(state.params.wte) or tokens.min() < 0:
        raise IndexError("a document longer than the block, or a token outside the vocabulary")
    losses = np.empty(len(batches))
    flat = state.weights, state.flat_grads, state.adam_m, state.adam_v
    adam = Adam(*(float(getattr(config, name)) for name in Adam._fields))
    run(losses, *flat, state.params, state.grads, state.saved, tokens, ends, batch_ends, state.step, adam, learn)
    return losses.tolist()


def train_steps(state, batches, config):
    losses = call_run(state, batches, config, learn=True)
    state.step += len(batches)
    return state, losses


def evaluate(state, batch, config):
    return call_run(state, [batch], config, learn=False)[0]


def next_logits(state, tokens, config):
    call_run(state, [[[*tokens, 0]]], config, learn=False)  # 0: the loss wants a target, we want the logits
    return state.saved.logits[len(tokens) - 1].tolist()


def logits(state, batch, config):
    rows = []
    for doc in batch:
        call_run(state, [[doc]], config, learn=False)
        rows.append(state.saved.logits[: len(doc) - 1].copy())
    return rows


def loss_and_grads(state, batch, config):
    """Take a step from a copy of the state: it leaves the gradients behind, as they were before clipping."""
    copied = make_state(config, *export_state(state), step=state.step, dtype=state.weights.dtype)
    _, (loss,) = train_steps(copied, [batch], config)
    return loss, named(copied.grads)
