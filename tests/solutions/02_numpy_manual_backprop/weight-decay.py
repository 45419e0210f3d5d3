def adamw_step(state, batch, config, weight_decay):
    """Return the state after one training step with weight decay (Loshchilov & Hutter 2019)."""
    learning_rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * state.step / config.num_steps))
    decay = learning_rate * weight_decay * state.params.vector  # of the weights before the step
    train_step(state, batch, config)
    state.params.vector -= decay
    return state
