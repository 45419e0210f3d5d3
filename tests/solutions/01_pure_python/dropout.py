def dropout(x, rate, uniform, training):
    """Set a random share of x to 0, and divide what is kept by 1 - rate (Srivastava et al. 2014)."""
    if not training:
        return x
    # a dropped entry is a new Value that was computed from nothing: no gradient passes through it
    return [
        [xi * (1 / (1 - rate)) if u.data >= rate else Value(0.0) for xi, u in zip(*rows)] for rows in zip(x, uniform)
    ]
