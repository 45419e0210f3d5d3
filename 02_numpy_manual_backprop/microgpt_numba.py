"""The lesson's model and gradients once more, as loops that Numba compiles: `main.py --backend numba`.

Read microgpt.py first: a function here computes what its namesake there does, and only what differs is explained. On
matrices as small as the default's NumPy spends its time on calls, not on arithmetic. Compiled, all steps together are
one call.

- The documents of a step stand one below the other in one matrix, N rows in all, so that products are few and large.
  Only attention takes each document by itself: the d-th has T rows, from ends[d] on, and ends[d + 1] is the next one's.
- Matrices of few rows are multiplied by loops. From MANY_ROWS on BLAS is faster, by which NumPy multiplies, too: np.dot
  in compiled code calls it, through SciPy.
- A function writes its results into arrays that it is given (the first arguments), so that a small step allocates no
  memory. They may have more rows than the N in use.
- Innermost loops run along rows, whose numbers lie side by side in memory: so the compiler can make one instruction of
  several turns of such a loop, eight in float64 on a processor with registers of 512 bits.
- Everything compiled stands in this file. Numba keeps what it compiled in __pycache__ and compiles again when this file
  changes; it would not notice a change in an imported one.
"""

import math
import os
from collections import namedtuple
from itertools import chain

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in engine.py

import numba
import numpy as np
import scipy  # noqa: F401  (Numba looks for it when np.dot is called: a missing one is to be told now)

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
MANY_ROWS = 16  # worth a call of BLAS, whatever the number of columns is
MOST_ROWS = 256  # of documents that are computed together: larger products are no faster, and need more memory

# Arrays by name, and their shapes. T is block_size here, R the most rows of documents that are computed together;
# L layers stand one after the other in an array.
MATRICES = {"wte": "V C", "wpe": "T C", "lm_head": "V C"}
# wq, wk and wv are one matrix, so that q, k and v are one product with it
MATRICES |= {"attn_wqkv": "L 3C C", "attn_wo": "L C C", "mlp_fc1": "L 4C C", "mlp_fc2": "L C 4C"}
Matrices = namedtuple("Matrices", MATRICES)  # all weights, or all gradients: views of one flat vector

# what the forward pass leaves for the backward pass
SAVED = {"x_embedded": "R C", "scale": "R", "x_normed": "L R C", "x_scale": "L R", "qkv": "L R 3C"}
SAVED |= {"attn_weights": "L R H T", "attn_out": "L R C", "residual_normed": "L R C", "residual_scale": "L R"}
SAVED |= {"relu": "L R 4C", "h": "L R 4C", "x": "R C", "logits": "R V", "probs": "R V"}
# and what both compute on their way
SAVED |= {"out": "R C", "dx": "R C", "dnormed": "R C", "dattn_out": "R C", "dqkv": "R 3C", "dh": "R 4C"}
Saved = namedtuple("Saved", SAVED)


# %% Model
@compiled_any_order
def linear(y, x, w, N):
    """y = x wᵀ. Four outputs at a time: each number of x is fetched once for four products."""
    if N >= MANY_ROWS:
        np.dot(x[:N], w.T, y[:N])
        return
    n_out, n_in = w.shape
    zero = y.dtype.type(0)  # a bare 0.0 would be float64 and so would be every sum
    for o in range(0, n_out - 3, 4):
        for t in range(N):
            a = b = c = d = zero
            for i in range(n_in):
                a += x[t, i] * w[o, i]
                b += x[t, i] * w[o + 1, i]
                c += x[t, i] * w[o + 2, i]
                d += x[t, i] * w[o + 3, i]
            y[t, o], y[t, o + 1], y[t, o + 2], y[t, o + 3] = a, b, c, d
    for o in range(n_out - n_out % 4, n_out):  # what is left, as of V = 27
        for t in range(N):
            a = zero
            for i in range(n_in):
                a += x[t, i] * w[o, i]
            y[t, o] = a


@compiled
def linear_backward(dx, dw, dy, x, w, N):
    """dx = dy w, dw += dyᵀ x. As sums of rows these need no reordering. Four rows at a time, as above."""
    if N >= MANY_ROWS:
        np.dot(dy[:N], w, dx[:N])
        dw += np.dot(dy[:N].T, x[:N])
        return
    n_out, n_in = w.shape
    dx[:N] = 0
    for o in range(0, n_out - 3, 4):
        for t in range(N):
            a, b, c, d = dy[t, o], dy[t, o + 1], dy[t, o + 2], dy[t, o + 3]
            for i in range(n_in):
                dx[t, i] += a * w[o, i] + b * w[o + 1, i] + c * w[o + 2, i] + d * w[o + 3, i]
        for t in range(N):
            a, b, c, d = dy[t, o], dy[t, o + 1], dy[t, o + 2], dy[t, o + 3]
            for i in range(n_in):
                dw[o, i] += a * x[t, i]
                dw[o + 1, i] += b * x[t, i]
                dw[o + 2, i] += c * x[t, i]
                dw[o + 3, i] += d * x[t, i]
    for o in range(n_out - n_out % 4, n_out):
        for t in range(N):
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
def rmsnorm(y, scale, x, N):
    C = x.shape[1]
    for t in range(N):
        mean_square = 0.0
        for i in range(C):
            mean_square += x[t, i] * x[t, i] / C
        scale[t] = (mean_square + 1e-5) ** -0.5
        for i in range(C):
            y[t, i] = x[t, i] * scale[t]


@compiled
def rmsnorm_backward(dx, dy, y, scale, N):
    """dx += what comes back through the norm: x also goes on past it, but for the first norm, where dx starts at 0."""
    C = y.shape[1]
    for t in range(N):
        total = y.dtype.type(0)
        for i in range(C):
            total += dy[t, i] * y[t, i]
        total /= y.dtype.type(C)
        for i in range(C):
            dx[t, i] += scale[t] * (dy[t, i] - y[t, i] * total)


@inlined
def attention(out, attn_out, attn_weights, qkv, x, wqkv, wo, ends, N):
    linear(qkv, x, wqkv, N)
    for d in range(len(ends) - 1):
        rows = slice(ends[d], ends[d + 1])
        if ends[d + 1] - ends[d] < MANY_ROWS:
            attend(attn_out[rows], attn_weights[rows], qkv[rows])
        else:
            attend_by_products(attn_out[rows], attn_weights[rows], qkv[rows])
    linear(out, attn_out, wo, N)


@compiled
def attend(attn_out, attn_weights, qkv):
    """A head's q, k and v are D columns of qkv: to split heads is to know where they start."""
    T, H, _ = attn_weights.shape
    C = attn_out.shape[1]
    D = C // H
    zero, root = qkv.dtype.type(0), qkv.dtype.type(D**-0.5)
    attn_out[:] = 0
    for head in range(H):
        q, k, v = head * D, C + head * D, 2 * C + head * D  # its first columns
        for t in range(T):
            weights = attn_weights[t, head]
            for s in range(t + 1):  # causal: what comes after t is not even computed
                attn_score = zero
                for d in range(D):
                    attn_score += qkv[t, q + d] * qkv[s, k + d]
                weights[s] = attn_score * root
            softmax(weights, weights, t + 1)
            for s in range(t + 1):
                for d in range(D):
                    attn_out[t, q + d] += weights[s] * qkv[s, v + d]


@compiled
def attend_by_products(attn_out, attn_weights, qkv):
    """The same, a product of matrices at a time: scores are linear in q, with k in the place of a weight, and so is
    attn_out in attn_weights, with vᵀ. Half of what is computed is masked; BLAS makes up for that.
    """
    T, H, _ = attn_weights.shape
    q, k, vT, out, weights = head_matrices(qkv, T, H)
    for head in range(H):
        split_head(q, k, vT, qkv, head)
        linear(weights, q, k, T)
        for t in range(T):
            softmax(weights[t], weights[t], t + 1)
            for s in range(t + 1, T):
                weights[t, s] = 0
            for s in range(T):
                attn_weights[t, head, s] = weights[t, s]
        linear(out, weights, vT, T)
        for t in range(T):
            for d in range(out.shape[1]):
                attn_out[t, head * out.shape[1] + d] = out[t, d]


@compiled
def head_matrices(qkv, T, H):
    """Return room for the q, k, vᵀ, attn_out and attn_weights of one head."""
    D = qkv.shape[1] // (3 * H)
    dtype = qkv.dtype
    q, k, vT = np.empty((T, D), dtype), np.empty((T, D), dtype), np.empty((D, T), dtype)
    return q, k, vT, np.empty((T, D), dtype), np.empty((T, T), dtype)


@compiled
def split_head(q, k, vT, qkv, head):
    """Take a head's numbers out of qkv, so that they lie together in memory. q is scaled by 1 / √D on the way."""
    T, D = q.shape
    C = qkv.shape[1] // 3
    root = qkv.dtype.type(D**-0.5)
    for t in range(T):
        for d in range(D):
            q[t, d] = qkv[t, head * D + d] * root
            k[t, d] = qkv[t, C + head * D + d]
            vT[d, t] = qkv[t, 2 * C + head * D + d]


@inlined
def attention_backward(dx, dwqkv, dwo, dout, dqkv, dattn_out, attn_out, attn_weights, qkv, x, wqkv, wo, ends, N):
    linear_backward(dattn_out, dwo, dout, attn_out, wo, N)
    for d in range(len(ends) - 1):
        rows = slice(ends[d], ends[d + 1])
        if ends[d + 1] - ends[d] < MANY_ROWS:
            attend_backward(dqkv[rows], dattn_out[rows], attn_out[rows], attn_weights[rows], qkv[rows])
        else:
            attend_backward_by_products(dqkv[rows], dattn_out[rows], attn_out[rows], attn_weights[rows], qkv[rows])
    linear_backward(dx, dwqkv, dqkv, x, wqkv, N)


@compiled
def attend_backward(dqkv, dattn_out, attn_out, attn_weights, qkv):
    T, H, _ = attn_weights.shape
    C = attn_out.shape[1]
    D = C // H
    zero, root = qkv.dtype.type(0), qkv.dtype.type(D**-0.5)
    dqkv[:] = 0
    for head in range(H):
        q, k, v = head * D, C + head * D, 2 * C + head * D
        for t in range(T):
            total = zero  # Σ_s dw_s w_s of softmax's gradient is Σ_d dout_d out_d, for out = Σ_s w_s v_s
            for d in range(D):
                total += dattn_out[t, q + d] * attn_out[t, q + d]
            for s in range(t + 1):
                weight = attn_weights[t, head, s]
                dweight = zero
                for d in range(D):
                    dweight += dattn_out[t, q + d] * qkv[s, v + d]
                    dqkv[s, v + d] += dattn_out[t, q + d] * weight
                dattn_score = weight * (dweight - total) * root
                for d in range(D):
                    dqkv[t, q + d] += dattn_score * qkv[s, k + d]
                    dqkv[s, k + d] += dattn_score * qkv[t, q + d]


@compiled
def attend_backward_by_products(dqkv, dattn_out, attn_out, attn_weights, qkv):
    T, H, _ = attn_weights.shape
    C = attn_out.shape[1]
    q, k, vT, dout, weights = head_matrices(qkv, T, H)
    dq, dk, dvT, _, dscores = head_matrices(qkv, T, H)
    D = q.shape[1]
    zero, root = qkv.dtype.type(0), qkv.dtype.type(D**-0.5)
    for head in range(H):
        split_head(q, k, vT, qkv, head)
        for t in range(T):
            for d in range(D):
                dout[t, d] = dattn_out[t, head * D + d]
            for s in range(T):
                weights[t, s] = attn_weights[t, head, s]
        dk[:], dvT[:] = 0, 0
        linear_backward(dscores, dvT, dout, weights, vT, T)  # so far that of the weights
        for t in range(T):
            total = zero  # as above
            for d in range(D):
                total += dout[t, d] * attn_out[t, head * D + d]
            for s in range(T):  # where a score is masked its weight is 0, and so is its gradient
                dscores[t, s] = weights[t, s] * (dscores[t, s] - total)
        linear_backward(dq, dk, dscores, q, k, T)
        for t in range(T):
            for d in range(D):
                dqkv[t, head * D + d] = dq[t, d] * root
                dqkv[t, C + head * D + d] = dk[t, d]
                dqkv[t, 2 * C + head * D + d] = dvT[d, t]


@inlined
def mlp(out, h, relu, x, fc1, fc2, N):
    linear(relu, x, fc1, N)
    for t in range(N):
        for j in range(relu.shape[1]):
            relu[t, j] = max(relu[t, j], 0)  # in this order nan stays nan
            h[t, j] = relu[t, j] * relu[t, j]
    linear(out, h, fc2, N)


@inlined
def mlp_backward(dx, dfc1, dfc2, dout, dh, h, relu, x, fc1, fc2, N):
    linear_backward(dh, dfc2, dout, h, fc2, N)
    for t in range(N):
        for j in range(relu.shape[1]):
            dh[t, j] *= relu[t, j] + relu[t, j]
    linear_backward(dx, dfc1, dh, x, fc1, N)


@compiled
def add(x, out, N):
    for t in range(N):
        for i in range(x.shape[1]):
            x[t, i] += out[t, i]


@inlined
def block(x, params, saved, ends, i, N):
    """Layer i, in place: no gradient needs x itself again, only what the norms made of it."""
    x_normed, residual_normed, out = saved.x_normed[i], saved.residual_normed[i], saved.out
    attn_out, attn_weights, qkv, h, relu = (
        saved.attn_out[i],
        saved.attn_weights[i],
        saved.qkv[i],
        saved.h[i],
        saved.relu[i],
    )
    rmsnorm(x_normed, saved.x_scale[i], x, N)
    attention(out, attn_out, attn_weights, qkv, x_normed, params.attn_wqkv[i], params.attn_wo[i], ends, N)
    add(x, out, N)
    rmsnorm(residual_normed, saved.residual_scale[i], x, N)
    mlp(out, h, relu, residual_normed, params.mlp_fc1[i], params.mlp_fc2[i], N)
    add(x, out, N)


@inlined
def block_backward(dx, params, grads, saved, ends, i, N):
    x_normed, residual_normed, dnormed = saved.x_normed[i], saved.residual_normed[i], saved.dnormed
    h, relu, dh = saved.h[i], saved.relu[i], saved.dh
    fc1, fc2, dfc1, dfc2 = params.mlp_fc1[i], params.mlp_fc2[i], grads.mlp_fc1[i], grads.mlp_fc2[i]
    mlp_backward(dnormed, dfc1, dfc2, dx, dh, h, relu, residual_normed, fc1, fc2, N)
    rmsnorm_backward(dx, dnormed, residual_normed, saved.residual_scale[i], N)
    attn_out, attn_weights, qkv, dqkv = saved.attn_out[i], saved.attn_weights[i], saved.qkv[i], saved.dqkv
    wqkv, wo, dwqkv, dwo = params.attn_wqkv[i], params.attn_wo[i], grads.attn_wqkv[i], grads.attn_wo[i]
    attention_backward(
        dnormed, dwqkv, dwo, dx, dqkv, saved.dattn_out, attn_out, attn_weights, qkv, x_normed, wqkv, wo, ends, N
    )
    rmsnorm_backward(dx, dnormed, x_normed, saved.x_scale[i], N)


@inlined
def gpt(params, tokens, ends, saved, N):
    x, x_embedded, wte, wpe = saved.x, saved.x_embedded, params.wte, params.wpe
    for d in range(len(ends) - 1):
        for t in range(ends[d], ends[d + 1]):
            for i in range(x.shape[1]):
                x[t, i] = wte[tokens[t], i] + wpe[t - ends[d], i]
    rmsnorm(x_embedded, saved.scale, x, N)
    for t in range(N):
        for i in range(x.shape[1]):
            x[t, i] = x_embedded[t, i]
    for layer in range(len(params.attn_wo)):
        block(x, params, saved, ends, layer, N)
    linear(saved.logits, x, params.lm_head, N)


# %% Loss
@inlined
def loss_fn(params, tokens, targets, ends, n_tokens, saved):
    """-log softmax(logits)_target is log Σ e^logit - logit_target."""
    N = len(tokens)
    gpt(params, tokens, ends, saved, N)
    loss = 0.0
    probs, logits = saved.probs, saved.logits
    for t in range(N):
        loss += softmax(probs[t], logits[t], logits.shape[1]) - logits[t, targets[t]]
    return loss / n_tokens


# %% Gradients
@inlined
def backward(params, grads, tokens, targets, ends, n_tokens, saved):
    N = len(tokens)
    dlogits, dx, dnormed, dwte, dwpe = saved.probs, saved.dx, saved.dnormed, grads.wte, grads.wpe
    for t in range(N):
        dlogits[t, targets[t]] -= 1
        for i in range(dlogits.shape[1]):
            dlogits[t, i] /= n_tokens
    linear_backward(dx, grads.lm_head, dlogits, saved.x, params.lm_head, N)
    for layer in range(len(params.attn_wo) - 1, -1, -1):
        block_backward(dx, params, grads, saved, ends, layer, N)
    dnormed[:N] = 0
    rmsnorm_backward(dnormed, dx, saved.x_embedded, saved.scale, N)
    for d in range(len(ends) - 1):
        for t in range(ends[d], ends[d + 1]):
            for i in range(dx.shape[1]):
                dwpe[t - ends[d], i] += dnormed[t, i]
                dwte[tokens[t], i] += dnormed[t, i]


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
def train_step(weights, flat_grads, adam_m, adam_v, params, grads, saved, tokens, targets, ends, step, adam, learn):
    """Take a step on the documents whose rows `ends` tells, and return the loss.

    If not `learn` it is for the loss and the logits only: so there is one thing to compile, not three.
    """
    n_tokens = weights.dtype.type(ends[-1] - ends[0])
    batch_loss = 0.0
    flat_grads[:] = 0
    first, n_docs = 0, len(ends) - 1
    while first < n_docs:
        after = first + 1
        while after < n_docs and ends[after + 1] - ends[first] <= len(saved.x):
            after += 1
        rows, own_ends = slice(ends[first], ends[after]), ends[first : after + 1] - ends[first]
        batch_loss += loss_fn(params, tokens[rows], targets[rows], own_ends, n_tokens, saved)
        if learn:
            backward(params, grads, tokens[rows], targets[rows], own_ends, n_tokens, saved)
        first = after
    if learn:
        adam_step(weights, flat_grads, adam_m, adam_v, step, adam)
    return batch_loss


@compiled_and_kept
def run(
    losses,
    weights,
    flat_grads,
    adam_m,
    adam_v,
    params,
    grads,
    saved,
    tokens,
    targets,
    ends,
    batch_ends,
    step,
    adam,
    learn,
):
    """Take a step for each of the losses: the b-th on the documents batch_ends[b] to batch_ends[b + 1] - 1."""
    for b in range(len(losses)):
        own_ends = ends[batch_ends[b] : batch_ends[b + 1] + 1]
        losses[b] = train_step(
            weights, flat_grads, adam_m, adam_v, params, grads, saved, tokens, targets, own_ends, step + b, adam, learn
        )


class State:
    def __init__(self, config, vocab_size, dtype):
        sizes = {"V": vocab_size, "T": config.block_size, "C": config.n_embd, "3C": 3 * config.n_embd}
        sizes |= {"4C": 4 * config.n_embd, "H": config.n_head, "L": config.n_layer}
        sizes["R"] = max(config.block_size, min(config.batch_size * config.block_size, MOST_ROWS))
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
    is_input, is_target = np.ones((2, len(tokens)), bool)
    is_input[ends[1:] - 1] = is_target[ends[:-1]] = False  # a document's last token is no input, its first no target
    ends -= np.arange(len(ends))  # so each document has a row less than tokens
    losses = np.empty(len(batches))
    flat = state.weights, state.flat_grads, state.adam_m, state.adam_v
    adam = Adam(*(float(getattr(config, name)) for name in Adam._fields))
    rows = tokens[is_input], tokens[is_target]
    run(losses, *flat, state.params, state.grads, state.saved, *rows, ends, batch_ends, state.step, adam, learn)
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
