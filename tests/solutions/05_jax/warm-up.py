def warm_up_learning_rate(step, warm_up_steps, config):
    """Return the learning rate of a step: a straight rise, then half a cosine (Vaswani et al. 2017).

    Without `if`, so that a compiled loop can call it, where step is not known yet.
    """
    rising = config.learning_rate * (step + 1) / max(warm_up_steps, 1)
    share = (step - warm_up_steps) / max(config.num_steps - warm_up_steps, 1)
    falling = config.learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * share))
    return jnp.where(step < warm_up_steps, rising, falling)
