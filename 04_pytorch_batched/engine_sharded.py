"""`--shard`: as `--distributed`, and each process keeps only its share of every weight and of Adam's means.

    torchrun --nproc_per_node 2 main.py --shard

A block's weights are put together just before they are needed, forward and backward, and let go again (FSDP2).
"""

import engine_distributed
from engine import next_logits, numpy
from engine_distributed import (
    LOST_PROCESS,
    OUT_OF_MEMORY,
    evaluate,
    logits,
    loss_and_grads,
    maximum,
    processes,
    rank,
    train_steps,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import distribute_tensor

__all__ = ["LOST_PROCESS", "OUT_OF_MEMORY", "evaluate", "export_state", "logits", "loss_and_grads", "make_state"]
__all__ += ["maximum", "next_logits", "rank", "train_steps"]


def make_state(*args, **kwargs):
    state = engine_distributed.make_whole(*args, **kwargs)
    whole = state.model.matrices()
    mesh = init_device_mesh(state.model.lm_head.weight.device.type, (processes,))
    for layer in state.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(state.model, mesh=mesh)
    # the model has new weights, so the optimizer takes these in place of the old ones, with the moments sharded alike
    moments = state.optimizer.state
    for name, weight in state.model.matrices().items():
        kept = moments.pop(whole[name])
        for moment in ("exp_avg", "exp_avg_sq"):
            kept[moment] = distribute_tensor(kept[moment], weight.device_mesh, weight.placements)
        moments[weight] = kept
    state.optimizer.param_groups[0]["params"] = list(state.model.parameters())
    state.share = engine_distributed.Share(state.model)
    return state


def export_state(state):
    """Put all weights and moments together: every process has to ask for it at the same time.

    Process 0 gets them, and None in all others, which have no use for them.
    """
    state.model.reshard()  # what stands outside of the blocks was left whole by the last forward pass
    weights = state.model.matrices()
    moments = {name: state.optimizer.state[weight] for name, weight in weights.items()}
    return (
        {name: put_together(weight) for name, weight in weights.items()},
        {name: put_together(kept["exp_avg"]) for name, kept in moments.items()},
        {name: put_together(kept["exp_avg_sq"]) for name, kept in moments.items()},
    )


def put_together(tensor):
    whole = tensor.full_tensor()
    return None if rank else numpy(whole)
