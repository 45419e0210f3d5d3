"""`--distributed`: the same engine in several processes, started by mlx.launch. Each takes its share of every batch.

    mlx.launch -n 2 python main.py --distributed

Each process has all weights and sees some of a batch's documents. The loss is the mean over the tokens of the whole
batch, so what a process finds counts by its tokens; one that has no document takes part with weight 0.
"""

import os
import signal
import time
from threading import Thread

import engine
import microgpt
import mlx.core as mx
from engine import AT_ONCE, OUT_OF_MEMORY, export_state, logits, loss_and_grads, make_state, next_logits, prepared
from microgpt import adam_step, schedule
from mlx.nn import average_gradients

__all__ = ["LOST_PROCESS", "OUT_OF_MEMORY", "evaluate", "export_state", "logits", "loss_and_grads", "make_state"]
__all__ += ["maximum", "next_logits", "rank", "train_steps"]

group = mx.distributed.init()  # the launcher's environment says who is who
LOST_PROCESS = ("connection to a peer was lost",)
rank, processes = group.rank(), group.size()


def stop_without(launcher):
    """mlx.launch ends its processes when one fails, but not when it is ended itself."""
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


Thread(target=stop_without, args=[os.getppid()], daemon=True).start()


def train_steps(state, batches, config):
    losses = []
    for batch in batches:
        state, loss = train_step(state, batch, config)
        losses.append(loss)
        if len(losses) % AT_ONCE == 0:
            mx.async_eval(state, losses[-AT_ONCE:])
    mx.eval(state, losses)
    return state, mx.distributed.all_sum(mx.stack(losses)).tolist()


def train_step(state, batch, config):
    share = weight(batch)
    loss, grads = microgpt.loss_and_grads(state.params, prepared(batch[rank::processes] or batch[:1]), config)
    # it sends many gradients in one message, and takes their mean: `processes` makes it the sum that is wanted
    sums = average_gradients([processes * share * grad for grad in grads.values()])
    return adam_step(state, dict(zip(grads, sums)), schedule(state.step, config), config), share * loss


def weight(batch):
    """Return what part of the batch's tokens this process has."""
    tokens = [len(doc) - 1 for doc in batch]
    return sum(tokens[rank::processes]) / sum(tokens)


def evaluate(state, batch, config):
    loss = weight(batch) * engine.evaluate(state, batch[rank::processes] or batch[:1], config)
    return mx.distributed.all_sum(mx.array(loss, state.params["wte"].dtype)).item()


def maximum(values):
    return mx.distributed.all_max(mx.array(values)).tolist()
