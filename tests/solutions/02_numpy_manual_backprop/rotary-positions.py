def rotate(x, first_position):
    """Turn each row of x by its position (Su et al. 2021): number i and number i + D / 2 form a pair."""
    T, D = x.shape
    positions = first_position + np.arange(T)
    angles = positions[:, None] * 10000.0 ** (-2 * np.arange(D // 2) / D)  # (T, D / 2)
    cos, sin = np.cos(angles), np.sin(angles)
    a, b = x[:, : D // 2], x[:, D // 2 :]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
