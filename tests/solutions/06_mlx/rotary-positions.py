def rotate(x, first_position):
    """Turn each row of x by its position (Su et al. 2021): number i and number i + D / 2 form a pair."""
    T, D = x.shape
    positions = first_position + mx.arange(T)
    angles = mx.outer(positions, mx.power(10000.0, -2 * mx.arange(D // 2) / D))  # (T, D / 2)
    cos, sin = mx.cos(angles), mx.sin(angles)
    a, b = mx.split(x, 2, axis=-1)
    return mx.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
