def dropout(x, rate, uniform, training):
    """Set a random share of x to 0, and divide what is kept by 1 - rate (Srivastava et al. 2014)."""
    return mx.where(uniform < rate, 0, x / (1 - rate)) if training else x
