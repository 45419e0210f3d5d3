def adamw_step(state, batch, config, weight_decay):
    """Return the state after one training step with weight decay (Loshchilov & Hutter 2019).

    It is all in PyTorch: torch.optim.AdamW is Adam with this one switch.
    """
    for group in state.optimizer.param_groups:
        group["weight_decay"], group["decoupled_weight_decay"] = weight_decay, True
    train_step(state, batch, config)
    return state
