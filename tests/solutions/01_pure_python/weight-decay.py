def adamw_step(state, batch, config, weight_decay):
    """Return the state after one training step with weight decay (Loshchilov & Hutter 2019)."""
    learning_rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * state.step / config.num_steps))
    before = [w.data for w in state.weights]
    train_step(state, batch, config)
    for w, old in zip(state.weights, before):
        w.data -= learning_rate * weight_decay * old
    return state
