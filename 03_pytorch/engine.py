"""This folder's lesson behind the names that the harness calls (harness/microgpt_harness/contract.py)."""

import torch
from microgpt import CONFIG, State, Tokenizer, init_params, loss_fn, train_step

__all__ = ["CONFIG", "Tokenizer", "evaluate", "export_state", "init_params", "make_state", "next_logits", "train_steps"]

ALL_THREADS = torch.get_num_threads()
WORTH_THREADS = (
    16_384  # numbers in one activation: with fewer, an operation is over before a second thread has woken up
)


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float32", device="auto"):
    torch.set_num_threads(ALL_THREADS if config.block_size * config.n_embd >= WORTH_THREADS else 1)
    state = State(params, config, getattr(torch, dtype), find_device(device, dtype))
    if adam_m:
        for name, weight in state.model.matrices().items():
            m, v = (torch.tensor(moment[name], dtype=torch.float64).to(weight) for moment in (adam_m, adam_v))
            # fused Adam keeps its count of steps, like the moments, beside the weight
            state.optimizer.state[weight] = {
                "step": torch.tensor(float(step), device=weight.device),
                "exp_avg": m,
                "exp_avg_sq": v,
            }
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
    weights = state.model.matrices()
    moments = {name: state.optimizer.state.get(w) or {} for name, w in weights.items()}

    def numpy(name, tensor):
        return torch.zeros_like(weights[name]).cpu().numpy() if tensor is None else tensor.detach().cpu().numpy().copy()

    return (
        {name: numpy(name, w) for name, w in weights.items()},
        {name: numpy(name, moment.get("exp_avg")) for name, moment in moments.items()},
        {name: numpy(name, moment.get("exp_avg_sq")) for name, moment in moments.items()},
    )


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
