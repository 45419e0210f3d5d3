"""This folder's lesson behind the names that the harness calls (harness/microgpt_harness/contract.py)."""

import torch
from microgpt import State, loss_fn, train_step

OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # on the CPU, on a GPU

ALL_THREADS = torch.get_num_threads()
# Numbers in one activation: with fewer, an operation is over before a second thread has woken up.
WORTH_THREADS = 16_384


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float32", device="auto"):
    torch.set_num_threads(ALL_THREADS if config.block_size * config.n_embd >= WORTH_THREADS else 1)
    state = State(params, config, getattr(torch, dtype), find_device(device, dtype))
    if adam_m:
        for i, name in enumerate(state.model.matrices()):
            state.adam_m[i].copy_(torch.tensor(adam_m[name], dtype=torch.float64))
            state.adam_v[i].copy_(torch.tensor(adam_v[name], dtype=torch.float64))
    state.step = step
    return state


def find_device(device, dtype):
    """Return the device by name. A model this small is fastest on the CPU, so `auto` is the CPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("PyTorch finds no CUDA device here; use --device cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError("PyTorch finds no Apple GPU (mps) here; use --device cpu")
    if device == "mps" and dtype == "float64":
        raise ValueError("an Apple GPU has no float64; use --dtype float32 or --device cpu")
    return "cpu" if device == "auto" else device


def export_state(state):
    matrices = state.model.matrices()
    tensors = (matrices.values(), state.adam_m, state.adam_v)
    return tuple({name: numpy(tensor) for name, tensor in zip(matrices, group)} for group in tensors)


def numpy(tensor):
    return tensor.detach().cpu().numpy().copy()


def train_steps(state, batches, config):
    return state, [train_step(state, batch, config) for batch in batches]


@torch.inference_mode()
def evaluate(state, batch, config):
    n_tokens = sum(len(doc) - 1 for doc in batch)
    return sum(loss_fn(state.model, doc, n_tokens).item() for doc in batch)


@torch.inference_mode()
def next_logits(state, tokens, config):
    tokens = torch.tensor(tokens, device=state.model.lm_head.weight.device)
    return state.model(tokens)[-1].tolist()


@torch.inference_mode()
def logits(state, batch, config):
    device = state.model.lm_head.weight.device
    return [numpy(state.model(torch.tensor(doc[:-1], device=device))) for doc in batch]


def loss_and_grads(state, batch, config):
    n_tokens = sum(len(doc) - 1 for doc in batch)
    loss = sum(loss_fn(state.model, doc, n_tokens) for doc in batch)
    loss.backward()
    grads = {name: numpy(weight.grad) for name, weight in state.model.matrices().items()}
    state.model.zero_grad()  # as a step expects it
    return loss.item(), grads
