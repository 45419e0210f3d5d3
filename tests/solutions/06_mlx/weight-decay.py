def adamw_step(state, batch, config, weight_decay):
    """Return the state after one training step with weight decay (Loshchilov & Hutter 2019)."""
    decay = schedule(state.step, config) * weight_decay
    after, _ = train_step(state, pad(batch), config)
    return after._replace(params=tree_map(lambda new, old: new - decay * old, after.params, state.params))
