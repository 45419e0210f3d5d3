import math


def warm_up_learning_rate(step, warm_up_steps, config):
    """Return the learning rate of a step: a straight rise, then half a cosine (Vaswani et al. 2017)."""
    if step < warm_up_steps:
        return config.learning_rate * (step + 1) / warm_up_steps
    share = (step - warm_up_steps) / (config.num_steps - warm_up_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
