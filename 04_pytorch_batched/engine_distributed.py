"""`--distributed`: the same engine in several processes, started by torchrun. Each takes its share of every batch.

    torchrun --nproc_per_node 2 main.py --distributed

Each process has all weights and sees some of a batch's documents. The loss is the mean over the tokens of the whole
batch, so what a process finds counts by its tokens; one that has no document takes part with weight 0.
"""

import atexit
import os
from datetime import timedelta

import engine
import torch
import torch.distributed as dist
from engine import OUT_OF_MEMORY, export_state, logits, loss_and_grads, next_logits
from microgpt import adam_step, loss_fn
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["LOST_PROCESS", "OUT_OF_MEMORY", "evaluate", "export_state", "logits", "loss_and_grads", "make_state"]
__all__ += ["maximum", "next_logits", "rank", "train_steps"]

if "LOCAL_WORLD_SIZE" not in os.environ:
    raise ValueError("torchrun starts several processes: `uv run torchrun --nproc_per_node 2 main.py --distributed`")
here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()  # of this machine
if gpus:
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)  # the one that this process means by "cuda"
# The launcher's environment says who is who. What the processes decide together is on the CPU, also when they train on
# GPUs.
dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=timedelta(minutes=10))
atexit.register(dist.destroy_process_group)  # NCCL warns where it was not
LOST_PROCESS = ("by peer", "remote process exited")  # Gloo, NCCL
rank, processes = dist.get_rank(), dist.get_world_size()


class Share(nn.Module):
    """The loss of a batch as a module's output: what DistributedDataParallel wraps."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, padded):
        return loss_fn(self.model, padded)


def make_state(*args, **kwargs):
    state = make_whole(*args, **kwargs)
    state.share = DistributedDataParallel(Share(state.model), gradient_as_bucket_view=True)  # or it keeps them twice
    return state


def make_whole(*args, **kwargs):
    state = engine.make_state(*args, **kwargs)
    if state.model.lm_head.weight.is_cuda and here > gpus:
        raise ValueError(f"{here} processes and {gpus} GPU here: each needs its own; use --nproc_per_node {gpus}")
    return state


def train_steps(state, batches, config):
    # sent ahead, as engine.py does it
    ready = [(weight(batch), engine.prepared(state.model, part(batch))) for batch in batches]
    losses = torch.stack([train_step(state, counts, padded, config) for counts, padded in ready])
    dist.all_reduce(losses)
    return state, losses.tolist()


def train_step(state, counts, padded, config):
    """Take a step on this process's documents, which count as this part of the batch."""
    loss = counts * state.share(padded)
    (processes * loss).backward()  # the wrapper takes the mean of the processes' gradients, and their sum is wanted
    adam_step(state, config)
    return loss.detach()


def part(batch):
    """Return this process's documents: where the batch has too few, any one, which then counts 0."""
    return batch[rank::processes] or batch[:1]


def weight(batch):
    """Return what part of the batch's tokens this process has."""
    tokens = [len(doc) - 1 for doc in batch]
    return sum(tokens[rank::processes]) / sum(tokens)


@torch.inference_mode()
def evaluate(state, batch, config):
    loss = weight(batch) * engine.mean_loss(state.model, part(batch))
    dist.all_reduce(loss)
    return loss.item()


def maximum(values):
    largest = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.tolist()
