"""microGPT in pure Python: a GPT in which every number knows what it was computed from.

Needs only the standard library. Trains on names, a document a step, and prints 20 new ones: `python microgpt.py`.
The model and the algorithm follow Andrej Karpathy's microGPT.
"""

import math
import random
from dataclasses import dataclass
from pathlib import Path


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
# From here on a number is a Value (section Gradients): it adds and multiplies like a float, but remembers what it was
# computed from, so that backward() can tell how the loss depends on each weight. A vector is a list of Values, a matrix
# a list of rows. A Value has no - and no /: to subtract b, add b * -1; to divide by b, multiply by b**-1. It stands on
# the left of a float: b * 2, not 2 * b.
def linear(x, w):
    return [dot(row, x) for row in w]


def softmax(logits):
    """Turn scores into probabilities. Subtracting the largest changes no result and keeps exp from overflowing."""
    largest = max(logit.data for logit in logits)
    exps = [(logit + -largest).exp() for logit in logits]
    inverse_total = add(exps) ** -1
    return [e * inverse_total for e in exps]


def rmsnorm(x):
    """Scale a vector to a root mean square of 1 (Zhang & Sennrich 2019), without weights."""
    scale = (dot(x, x) * (1 / len(x)) + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def attention(x, params, layer, config):
    """Let each position gather from itself and those before it (Vaswani et al. 2017). x and result: (T, C).

    A position's query q says what it looks for, its key k what others find it by, its value v what they take from it.
    Each head does this by itself, with D of the C numbers, so that a position can look for several things at once.
    """
    q, k, v = ([linear(xt, params[f"{layer}.attn_{w}"]) for xt in x] for w in ("wq", "wk", "wv"))
    D = config.n_embd // config.n_head
    attn_out = [[] for _ in x]
    for start in range(0, config.n_embd, D):
        q_head = [qt[start : start + D] for qt in q]  # (T, D)
        k_head = [kt[start : start + D] for kt in k]
        v_head = [vt[start : start + D] for vt in v]
        for t in range(len(x)):
            visible = range(t + 1)  # causal: what comes later is to be predicted, not seen
            # a sum of D products grows like √D: divided by it, scores are of the same size whatever D is
            attn_scores = [dot(q_head[t], k_head[s]) * D**-0.5 for s in visible]
            attn_weights = softmax(attn_scores)
            for d in range(D):
                attn_out[t].append(dot(attn_weights, [v_head[s][d] for s in visible]))
    return [linear(out, params[f"{layer}.attn_wo"]) for out in attn_out]


def mlp(x, params, layer):
    """Work on one position by itself: widen to 4C, squared ReLU (So et al. 2021), back to C."""
    # without a ReLU two linear maps are no more than one; So et al. found that with its square a model learns faster
    h = [hi.relu_squared() for hi in linear(x, params[f"{layer}.mlp_fc1"])]
    return linear(h, params[f"{layer}.mlp_fc2"])


def block(x, params, layer, config):
    """Add attention's result to x, then mlp's result to that sum. x and result: (T, C).

    x is the residual stream, which carries what is known at each position from the embeddings to the logits. Layers
    only add to it, so gradients reach the first as well as the last. What they read of it is scaled by rmsnorm, so that
    its numbers have the same size in every layer.
    """
    attn_out = attention([rmsnorm(xt) for xt in x], params, layer, config)
    residual = [add_vectors(xt, out) for xt, out in zip(x, attn_out)]
    mlp_out = [mlp(rmsnorm(rt), params, layer) for rt in residual]
    return [add_vectors(rt, out) for rt, out in zip(residual, mlp_out)]


def gpt(params, tokens, config):
    """Return logits (T, V): after each of the T tokens, a score for every token that may come next."""
    x = []
    for position, token in enumerate(tokens):
        tok_emb, pos_emb = params["wte"][token], params["wpe"][position]
        x.append(rmsnorm(add_vectors(tok_emb, pos_emb)))
    for i in range(config.n_layer):
        x = block(x, params, f"layer{i}", config)
    return [linear(xt, params["lm_head"]) for xt in x]


# %% Loss
def cross_entropy(logits, target):
    """Return -log softmax(logits)[target] as one Value.

    Its derivative with respect to a token's logit is that token's probability, less 1 for the target (02 derives it).
    """
    largest = max(logit.data for logit in logits)
    exps = [math.exp(logit.data - largest) for logit in logits]
    total = sum(exps)
    probs = [e / total for e in exps]
    dlogits = [prob - (token == target) for token, prob in enumerate(probs)]
    return Value(math.log(total) + largest - logits[target].data, logits, dlogits)


def loss_fn(params, doc, n_tokens, config):
    """Return one document's share of the batch's mean cross-entropy: n_tokens counts the whole batch's predictions.

    At the start all V tokens are about equally likely, so the loss is about -ln(1 / V): 3.3 for the 27 tokens of names.
    """
    logits = gpt(params, doc[:-1], config)
    return add([cross_entropy(row, target) for row, target in zip(logits, doc[1:])]) * (1 / n_tokens)


# %% Gradients
tape = []  # every Value computed so far, in the order they were made: what one was computed from stands before it


class Value:
    """A number, the Values it was computed from, and its derivative with respect to each of them.

    A dot product is one Value, not many.
    """

    __slots__ = ("children", "data", "grad", "local_grads")

    def __init__(self, data, children=(), local_grads=()):
        self.data, self.children, self.local_grads = data, children, local_grads
        self.grad = 0.0  # d loss / d self, once backward() has run
        if children:
            tape.append(self)

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent):
        return Value(self.data**exponent, (self,), (exponent * self.data ** (exponent - 1),))

    def exp(self):
        return Value(math.exp(self.data), (self,), (math.exp(self.data),))

    def relu_squared(self):
        relu = max(0.0, self.data)
        return Value(relu * relu, (self,), (2 * relu,))


def add(values):
    return Value(sum([v.data for v in values]), values, [1.0] * len(values))


def add_vectors(a, b):
    return [ai + bi for ai, bi in zip(a, b)]


def dot(a, b):
    a_data, b_data = [v.data for v in a], [v.data for v in b]
    # the derivative with respect to a number of a is its partner in b, and the other way round
    return Value(sum([ai * bi for ai, bi in zip(a_data, b_data)]), (*a, *b), b_data + a_data)


def backward(loss):
    """Add d loss / d child to every child's grad, last node first: a node's grad is complete before it is passed on."""
    loss.grad = 1.0
    for node in reversed(tape):
        if grad := node.grad:  # it is 0 behind a ReLU that is off: nothing to pass on
            for child, local_grad in zip(node.children, node.local_grads):
                child.grad += grad * local_grad
    tape.clear()  # the next computation begins anew; the weights keep their grads


# %% Optimizer
class State:
    """The weights, Adam's two running means for each of them, and the number of steps taken."""

    def __init__(self, params: dict[str, list[list[float]]]) -> None:
        self.params = {name: [[Value(w) for w in row] for row in rows] for name, rows in params.items()}
        self.weights = [w for rows in self.params.values() for row in rows for w in row]
        self.adam_m = [0.0] * len(self.weights)
        self.adam_v = [0.0] * len(self.weights)
        self.step = 0


def adam_step(state, config):
    """Move each weight against its gradient, by Adam (Kingma & Ba 2015), and set the gradient back to 0.

    m, a mean of the last gradients, evens out what only single documents ask for. v, a mean of their squares, tells how
    large they usually are: dividing by its root lets weights with small gradients move as far as those with large ones.
    """
    clip = 1.0
    if config.clip_grad:
        norm = math.sqrt(sum([w.grad * w.grad for w in state.weights]))
        clip = min(1.0, config.clip_grad / (norm + 1e-6))
    learning_rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * state.step / config.num_steps))
    state.step += 1
    for i, w in enumerate(state.weights):
        grad = w.grad * clip
        m = config.beta1 * state.adam_m[i] + (1 - config.beta1) * grad
        v = config.beta2 * state.adam_v[i] + (1 - config.beta2) * grad * grad
        m_hat = m / (1 - config.beta1**state.step)  # both means start at 0 and are too small at first
        v_hat = v / (1 - config.beta2**state.step)
        w.data -= learning_rate * m_hat / (math.sqrt(v_hat) + config.eps_adam)
        w.grad = 0.0
        state.adam_m[i] = m
        state.adam_v[i] = v


# %% Training
CONFIG = Config()


def train_step(state, batch, config):
    """Take one step on a batch, a document at a time, and return the mean loss over its tokens before the step."""
    n_tokens = sum(len(doc) - 1 for doc in batch)
    batch_loss = 0.0
    for doc in batch:
        loss = loss_fn(state.params, doc, n_tokens, config)
        backward(loss)
        batch_loss += loss.data
    adam_step(state, config)
    return batch_loss


# %% Inference
def generate(state, bos, rng, config):
    """Return tokens drawn one by one, each by the probabilities that those before it give, until BOS or block_size."""
    tokens = [bos]
    while len(tokens) <= config.block_size:
        logits = gpt(state.params, tokens, config)[-1]
        probs = [p.data for p in softmax([logit * (1 / config.temperature) for logit in logits])]
        tape.clear()  # as backward() does where there is something to learn
        token = rng.choices(range(len(probs)), weights=probs)[0]
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
