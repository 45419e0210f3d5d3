def adamw_step(state, batch, config, weight_decay):
    """Return the state after one training step with weight decay (Loshchilov & Hutter 2019)."""
    decay = schedule(state.step, config) * weight_decay
    after, _ = train_step(state, pad(batch, config), config)
    return after._replace(params=jax.tree.map(lambda new, old: new - decay * old, after.params, state.params))
