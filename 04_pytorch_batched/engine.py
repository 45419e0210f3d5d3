"""This folder's lesson behind the names that the harness calls (harness/microgpt_harness/contract.py)."""

import torch
from microgpt import State, loss_fn, pad, train_step


def tokens_at_once(config):
    return config.batch_size * config.block_size


def prepared(model, batch):
    """Return a batch as train_step takes it: one padded tensor. Those of a run need no lists for that."""
    padded = torch.from_numpy(batch.array(dtype="int64")) if hasattr(batch, "array") else pad(batch)
    return padded.to(model.lm_head.weight.device)


def mean_loss(model, batch):
    """Return the mean loss over the batch's tokens, all documents at once, as train_step takes it."""
    return loss_fn(model, prepared(model, batch))


# %% PyTorch
# The same in every folder that uses PyTorch: a test compares the bytes.

OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # on the CPU, on a GPU

ALL_THREADS = torch.get_num_threads()
# Numbers in one activation: with fewer, an operation is over before a second thread has woken up.
WORTH_THREADS = 16_384


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float32", device="auto"):
    torch.set_num_threads(ALL_THREADS if tokens_at_once(config) * config.n_embd >= WORTH_THREADS else 1)
    device = find_device(device, dtype)
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")  # "high": by TF32 where there is one
    state = State(params, config, torch.float64 if dtype == "float64" else torch.float32, device)
    if dtype == "bfloat16":
        multiply_in_bfloat16(state.model)
    for name, weight in state.model.matrices().items():
        state.optimizer.state[weight] = {
            "step": torch.tensor(float(step), device=weight.device),
            "exp_avg": like(weight, adam_m[name]) if adam_m else torch.zeros_like(weight),
            "exp_avg_sq": like(weight, adam_v[name]) if adam_v else torch.zeros_like(weight),
        }
    state.optimizer.step()  # moves nothing, as there are no gradients: the scheduler warns if it is the first to step
    for _ in range(step):  # each learning rate is computed from the one before: so they are the same to the last bit
        state.scheduler.step()
    return state


def multiply_in_bfloat16(model):
    """Have autocast do so: what it leaves alone, as norms and the residual stream, stays float32, like the weights.

    So do the scores, for the loss is made of them.
    """
    forward, device = model.forward, model.lm_head.weight.device.type

    def autocast_forward(tokens):
        with torch.autocast(device, torch.bfloat16):
            logits = forward(tokens)
        return logits.float()

    model.forward = autocast_forward


def like(weight, rows):
    return torch.tensor(rows, dtype=torch.float64).to(weight)


def find_device(device, dtype):
    """Return the device by name. A model this small is fastest on the CPU, so `auto` is the CPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("PyTorch finds no CUDA device here; use --device cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError("PyTorch finds no Apple GPU (mps) here; use --device cpu")
    if device == "mps" and dtype == "float64":
        raise ValueError("an Apple GPU has no float64; use --dtype float32 or --device cpu")
    if device == "mps" and dtype == "bfloat16" and not torch.backends.mps.is_macos_or_newer(14, 0):
        raise ValueError("an Apple GPU has bfloat16 from macOS 14 on; use --dtype float32 or --device cpu")
    if device == "cuda" and dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise ValueError("this GPU has no bfloat16; use --dtype float32")
    if device != "cuda" and dtype == "tf32":
        raise ValueError("only an NVIDIA GPU has tf32; use --dtype float32 or --device cuda")
    return "cpu" if device == "auto" else device


def export_state(state):
    weights = state.model.matrices()
    moments = {name: state.optimizer.state[weight] for name, weight in weights.items()}
    return (
        {name: numpy(weight) for name, weight in weights.items()},
        {name: numpy(kept["exp_avg"]) for name, kept in moments.items()},
        {name: numpy(kept["exp_avg_sq"]) for name, kept in moments.items()},
    )


def numpy(tensor):
    return tensor.detach().cpu().numpy().copy()


def train_steps(state, batches, config):
    ready = [prepared(state.model, batch) for batch in batches]  # sent ahead: between steps a copy would wait for a GPU
    losses = [train_step(state, batch, config) for batch in ready]
    return state, [float(loss) for loss in losses]  # a GPU is waited for here, not after each step


@torch.inference_mode()
def evaluate(state, batch, config):
    return mean_loss(state.model, batch).item()


def loss_and_grads(state, batch, config):
    loss = mean_loss(state.model, batch)
    loss.backward()
    grads = {name: numpy(weight.grad) for name, weight in state.model.matrices().items()}
    state.optimizer.zero_grad()  # as a step expects it
    return loss.item(), grads


def logits(state, batch, config):
    return [numpy(scores(state, doc[:-1])) for doc in batch]


def next_logits(state, tokens, config):
    return scores(state, tokens)[-1].tolist()


@torch.inference_mode()
def scores(state, tokens):
    return state.model(torch.tensor(tokens, device=state.model.lm_head.weight.device))
