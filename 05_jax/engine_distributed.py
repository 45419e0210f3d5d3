"""`--distributed`: the same engine on all devices that JAX sees, of one process or of several.

    python main.py --distributed

Every device has all weights and some of a batch's documents. That is all there is to say: the lesson's compiled step
stays as it is, and the compiler finds out where sums over devices are needed. Several processes, on as many hosts as
there are, find each other by Slurm's variables or those of Open MPI 4, or by JAX_COORDINATOR_ADDRESS (host:port of the
first), JAX_NUM_PROCESSES and JAX_PROCESS_ID.
"""

import os
from functools import partial

import engine
import jax
import numpy as np
from engine import OUT_OF_MEMORY, PADDING, export_state, logits, loss_and_grads, next_logits
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

__all__ = ["LOST_PROCESS", "OUT_OF_MEMORY", "evaluate", "export_state", "logits", "loss_and_grads", "make_state"]
__all__ += ["maximum", "next_logits", "rank", "train_steps"]

if "JAX_COORDINATOR_ADDRESS" in os.environ:
    jax.distributed.initialize(
        num_processes=int(os.environ["JAX_NUM_PROCESSES"]), process_id=int(os.environ["JAX_PROCESS_ID"])
    )
elif "SLURM_STEP_NODELIST" in os.environ or "OMPI_MCA_orte_hnp_uri" in os.environ:
    jax.distributed.initialize()
elif int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:  # Open MPI 5 does not say what JAX reads
    raise ValueError(
        "JAX cannot find Open MPI's other processes; set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
    )
LOST_PROCESS = ("by peer", "remote process exited")  # Gloo, NCCL
rank = jax.process_index()
mesh = Mesh(jax.devices(), "devices")
whole = NamedSharding(mesh, PartitionSpec())  # the same on every device


def make_state(*args, **kwargs):
    return jax.tree.map(lambda array: place(array, whole), make_whole(*args, **kwargs))


def make_whole(*args, **kwargs):
    state, found = engine.make_state(*args, **kwargs), mesh.devices.flat[0].platform
    if (asked := state.step.device.platform) != found:
        raise ValueError(f"several devices are all that JAX finds, here {found}; for others set JAX_PLATFORMS={asked}")
    return state


def place(array, sharding):
    """Return the array, which every process has, spread over all devices."""
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])


def spread(batches, axis):
    """Return padded batches with their documents over the devices: rows of padding alone make them a multiple."""
    missing = -batches.shape[axis] % mesh.size
    widths = [(0, missing if i == axis else 0) for i in range(batches.ndim)]
    axes = [None] * axis + ["devices"]
    return place(np.pad(batches, widths, constant_values=PADDING), NamedSharding(mesh, PartitionSpec(*axes)))


train_steps = partial(engine.train_steps, spread=spread)
evaluate = partial(engine.evaluate, spread=spread)


def maximum(values):
    return (
        multihost_utils.process_allgather(np.array(values, dtype=float)).reshape(-1, len(values)).max(axis=0).tolist()
    )
