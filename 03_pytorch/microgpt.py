"""microGPT in PyTorch: modules hold the weights, autograd finds the gradients, one document at a time.

Trains on names and prints 20 new ones: `uv run python microgpt.py`.
The model and the algorithm follow Andrej Karpathy's microGPT.
"""

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR


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
# Written for x of shape (…, T, C): a batch's B documents may stand in front of T, in the result too.
linear = partial(nn.Linear, bias=False)  # made with (n_in, n_out), keeps its weights as (out, in)


def rmsnorm(x):
    """Scale each row to a root mean square of 1 (Zhang & Sennrich 2019), without weights."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-5)


class CausalSelfAttention(nn.Module):
    """Let each position gather from itself and those before it (Vaswani et al. 2017)."""

    def __init__(self, config):
        super().__init__()
        C = config.n_embd
        self.n_head = config.n_head
        self.wq = linear(C, C)
        self.wk = linear(C, C)
        self.wv = linear(C, C)
        self.wo = linear(C, C)

    def forward(self, x):
        # A query q meets the keys k of all that it may see; the better one fits, the more of its value v is gathered.
        # Each head does this with D numbers of its own, so that heads can look for different things.
        T, C = x.shape[-2:]
        heads = (-1, T, self.n_head, C // self.n_head)  # (B, T, H, D), where B is 1 for a document alone
        q, k, v = (w(x).view(heads).transpose(1, 2) for w in (self.wq, self.wk, self.wv))  # (B, H, T, D)
        # In one call, which keeps scores and weights to itself:
        # attn_scores = q kᵀ / √D (they would grow with √D otherwise), masked where k comes later than q;
        # attn_out = softmax(attn_scores) v.
        attn_out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(attn_out.transpose(1, 2).reshape(x.shape))  # (…, T, C)


class MLP(nn.Module):
    """Work on each position by itself: widen to 4C, squared ReLU (So et al. 2021), back to C."""

    def __init__(self, config):
        super().__init__()
        self.fc1 = linear(config.n_embd, 4 * config.n_embd)
        self.fc2 = linear(4 * config.n_embd, config.n_embd)

    def forward(self, x):
        h = F.relu(self.fc1(x)).square()  # (…, T, 4C)
        return self.fc2(h)


class Block(nn.Module):
    """Add attention's result to x, the residual stream, then the MLP's result to that sum."""

    def __init__(self, config):
        super().__init__()
        self.attn = CausalSelfAttention(config)
        self.mlp = MLP(config)

    def forward(self, x):
        residual = x + self.attn(rmsnorm(x))
        return residual + self.mlp(rmsnorm(residual))


class GPT(nn.Module):
    """Map tokens (…, T) to logits (…, T, V): after each token, a score for every token that may come next."""

    def __init__(self, config, vocab_size):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.lm_head = linear(config.n_embd, vocab_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))

    def forward(self, tokens):
        tok_emb = self.wte(tokens)  # (…, T, C)
        pos_emb = self.wpe.weight[: tokens.shape[-1]]  # (T, C), the same for every document
        x = rmsnorm(tok_emb + pos_emb)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(x)

    def matrices(self):
        """Return the weights under the names of `init_params`.

        PyTorch names them by the attributes that lead to them: layers.0.attn.wq.weight is layer0.attn_wq.
        """
        matrices = {}
        for name, weight in self.named_parameters():
            name = name.removesuffix(".weight").replace("layers.", "layer")
            matrices[name.replace("attn.", "attn_").replace("mlp.", "mlp_")] = weight
        return matrices


# %% Loss
def loss_fn(model, doc, n_tokens):
    """Return one document's share of the batch's mean cross-entropy: n_tokens counts the whole batch's predictions."""
    doc = torch.tensor(doc, device=model.lm_head.weight.device)
    return F.cross_entropy(model(doc[:-1]), doc[1:], reduction="sum") / n_tokens


# %% Gradients
# loss.backward() in train_step: autograd recorded the operations on the way forward and now runs them backwards.
# What it finds it adds to each weight's .grad, so adam_step resets that once the batch is complete.


# %% Optimizer
class State:
    """The model, and what moves its weights.

    For each weight the optimizer keeps Adam's two running means: that of its gradients says where to go, that of their
    squares how large they usually are, to divide by. The scheduler lowers the optimizer's learning rate step by step.
    """

    def __init__(self, params, config, dtype=torch.float32, device="cpu"):
        self.model = GPT(config, len(params["wte"])).to(device, dtype)
        with torch.no_grad():  # setting the weights is nothing to differentiate
            for name, weight in self.model.matrices().items():
                weight.copy_(torch.tensor(params[name], dtype=dtype))
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.eps_adam,
            fused=True,  # one kernel for all weights, not a dozen calls for each
        )
        self.scheduler = CosineAnnealingLR(self.optimizer, T_max=config.num_steps)  # half a cosine, down to 0


def adam_step(state, config):
    """Move each weight against its gradient, by Adam (Kingma & Ba 2015), and reset the gradients."""
    if config.clip_grad:
        nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_grad)
    state.optimizer.step()
    state.scheduler.step()  # after the optimizer's: it sets the learning rate of the next step
    state.optimizer.zero_grad()


# %% Training
# A loss is detached from the operations behind it, so that they can be forgotten. (.item() would wait for a GPU.)
CONFIG = Config()


def train_step(state, batch, config):
    """Take one step on a batch, a document at a time, and return the mean loss over its tokens before the step."""
    n_tokens = sum(len(doc) - 1 for doc in batch)
    batch_loss = 0.0
    for doc in batch:
        loss = loss_fn(state.model, doc, n_tokens)
        loss.backward()  # adds to the gradients that are there
        batch_loss += loss.detach()
    adam_step(state, config)
    return batch_loss


# %% Inference
@torch.inference_mode()
def generate(state, bos, rng, config):
    """Return tokens drawn one by one, each by the probabilities that those before it give, until BOS or block_size."""
    device = state.model.lm_head.weight.device
    tokens = [bos]
    while len(tokens) <= config.block_size:
        logits = state.model(torch.tensor(tokens, device=device))[-1]  # (V)
        probs = F.softmax(logits / config.temperature, dim=-1)
        token = rng.choices(range(len(probs)), weights=probs.tolist())[0]
        if token == bos:
            break
        tokens.append(token)
    return tokens[1:]


def main():
    torch.set_num_threads(1)  # steps as small as these are over before a second thread has woken up
    rng = random.Random(CONFIG.seed)  # one generator: order of documents, weights, then samples
    docs = load_docs(NAMES, rng)
    tokenizer = Tokenizer(docs)
    state = State(init_params(CONFIG, tokenizer.vocab_size, rng), CONFIG)
    for step in range(CONFIG.num_steps):
        batch = [docs[(step * CONFIG.batch_size + b) % len(docs)] for b in range(CONFIG.batch_size)]
        tokens = [tokenizer.encode(doc)[: CONFIG.block_size + 1] for doc in batch]
        print(f"step {step + 1:4d} / {CONFIG.num_steps:4d} | loss {train_step(state, tokens, CONFIG):.4f}")
    for i in range(20):
        print(f"sample {i + 1:2d}: {tokenizer.decode(generate(state, tokenizer.bos, rng, CONFIG))}")


if __name__ == "__main__":
    main()
