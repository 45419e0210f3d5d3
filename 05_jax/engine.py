"""This folder's lesson behind the names that the harness calls (harness/microgpt_harness/contract.py)."""

import os
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong is raised, too: the compiler's log repeats it

import jax
import jax.numpy as jnp
import microgpt
import numpy as np
from microgpt import PADDING, State, init_state, loss_fn, pad, train_step

OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory")

# Many GPUs, and TPUs, multiply float32 matrices with fewer bits of each number unless told not to. A CPU uses all 24.
jax.config.update("jax_default_matmul_precision", "highest")
np.seterr(all="ignore")  # the harness looks at every loss, and says what to do where one is no number

# What was compiled once is kept, so that the next run of the same shapes starts without compiling.
CACHE = Path(__file__).resolve().parent / ".jax_cache"
if os.access(CACHE if CACHE.exists() else CACHE.parent, os.W_OK):  # a classroom's shared copy may be read-only
    jax.config.update("jax_compilation_cache_dir", str(CACHE))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

SHORTEST = 64  # tokens that next_logits pads to: a block of no more than these compiles once
CHUNK = 50  # steps in one compiled call: long enough that the cost of the call is lost in them

# A GPU adds up what belongs together, as the gradients of one token's embedding, in whichever order it comes. With this
# the order is always the same, so a run that goes on gives the same bits as one without a break.
REPEATABLE = {"xla_gpu_exclude_nondeterministic_ops": True}


class Bfloat16(dict):
    """Weights by name with which the model is to compute in bfloat16. They are float32, so that small steps add up."""


def flatten(weights):
    names = tuple(sorted(weights))
    return [weights[name] for name in names], names


# So jax.tree.map makes a Bfloat16 of a Bfloat16, and jit compiles once for these and once for plain dicts.
jax.tree_util.register_pytree_node(Bfloat16, flatten, lambda names, arrays: Bfloat16(zip(names, arrays)))

lesson_gpt = microgpt.gpt


class Table:
    """An embedding's rows, rounded once they have been looked up. So its gradients are added up in float32.

    In bfloat16 the sum over the many places of a common token would soon stop growing.
    """

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, which):
        return self.rows[which].astype(jnp.bfloat16)


def gpt(params, tokens, config):
    """The lesson's, computed in bfloat16 where the weights say so. The scores are float32: the loss is made of them."""
    if not isinstance(params, Bfloat16):
        return lesson_gpt(params, tokens, config)
    rounded = {name: w.astype(jnp.bfloat16) for name, w in params.items()}
    rounded |= {name: Table(params[name]) for name in ("wte", "wpe")}
    return lesson_gpt(rounded, tokens, config).astype(jnp.float32)


microgpt.gpt = gpt  # what the lesson calls by that name is this from here on
microgpt.compiled_gpt = jax.jit(gpt, static_argnames="config")


def make_state(config, params, adam_m=None, adam_v=None, step=0, dtype="float32", device="auto"):
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)  # without it JAX turns float64 into float32, mostly without a word
    kept_in = "float64" if dtype == "float64" else "float32"
    state = init_state(params, kept_in)
    if adam_m:
        adam_m, adam_v = ({name: jnp.array(moment[name], kept_in) for name in params} for moment in (adam_m, adam_v))
        state = State(state.params, adam_m, adam_v, jnp.array(step))
    if dtype == "bfloat16":
        state = State(*(Bfloat16(tensors) for tensors in state[:3]), state.step)
    return jax.device_put(state, find_device(device))


def find_device(device):
    try:
        return jax.local_devices(backend=None if device == "auto" else device)[0]
    except RuntimeError:
        raise ValueError(f"JAX finds no {device} here; use --device cpu") from None


def export_state(state):
    return tuple({name: np.array(w) for name, w in tensors.items()} for tensors in state[:3])


def as_it_is(batches, axis):
    return batches


def prepared(batch, config):
    """Return a batch as train_step takes it: one padded array. Those of a run need no lists for that."""
    return batch.array(config.block_size + 1) if hasattr(batch, "array") else pad(batch, config)


def train_steps(state, batches, config, spread=as_it_is):
    """Any number of steps goes through one compiled function, CHUNK at a time, so a step's bits are always the same.

    `spread(padded, axis)` puts documents, which that axis counts, where they are to be computed.
    """
    losses = []  # arrays, fetched at the end: a GPU computes while the next batches are sent to it
    for start in range(0, len(batches), CHUNK):
        chunk = batches[start : start + CHUNK]
        padded = np.full((CHUNK, len(chunk[0]), config.block_size + 1), PADDING, dtype=np.int32)
        for row, batch in zip(padded, chunk):
            row[:] = prepared(batch, config)
        state, chunk_losses = train_chunk(state, spread(padded, axis=1), len(chunk), config)
        losses.append(chunk_losses)
    return state, np.concatenate(losses)[: len(batches)].tolist()


@partial(jax.jit, static_argnames="config", donate_argnames="state", compiler_options=REPEATABLE)
def train_chunk(state, batches, n_steps, config):
    """The lesson's scan would be compiled anew for another number of batches; this loop stops after any n_steps."""

    def body(i, carry):
        state, losses = carry
        state, loss = train_step(state, batches[i], config)
        return state, losses.at[i].set(loss)

    return jax.lax.fori_loop(0, n_steps, body, (state, jnp.zeros(CHUNK, state.params["wte"].dtype)))


compiled_loss = jax.jit(loss_fn, static_argnames="config")


def evaluate(state, batch, config, spread=as_it_is):
    return compiled_loss(state.params, spread(prepared(batch, config), axis=0), config).item()


def next_logits(state, tokens, config):
    """Pad to a power of two: few lengths to compile, and a large block costs nothing as long as it is nearly empty."""
    length = min(config.block_size, max(SHORTEST, 1 << (len(tokens) - 1).bit_length()))
    padded = np.full(length, PADDING, dtype=np.int32)
    padded[: len(tokens)] = tokens
    return microgpt.compiled_gpt(state.params, padded, config)[len(tokens) - 1].tolist()


compiled_logits = jax.jit(jax.vmap(gpt, in_axes=(None, 0, None)), static_argnums=2)
compiled_loss_and_grads = jax.jit(microgpt.loss_and_grads, static_argnames="config", compiler_options=REPEATABLE)


def logits(state, batch, config):
    padded = compiled_logits(state.params, prepared(batch, config)[:, :-1], config)  # (B, block_size, V)
    return [rows[: len(doc) - 1] for rows, doc in zip(np.array(padded), batch)]


def loss_and_grads(state, batch, config):
    loss, grads = compiled_loss_and_grads(state.params, prepared(batch, config), config)
    return loss.item(), {name: np.array(grad) for name, grad in grads.items()}
