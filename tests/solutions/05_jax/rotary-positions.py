def rotate(x, first_position):
    """Turn each row of x by its position (Su et al. 2021): number i and number i + D / 2 form a pair."""
    T, D = x.shape
    angles = jnp.outer(first_position + jnp.arange(T), 10000.0 ** (-2 * jnp.arange(D // 2) / D))  # (T, D / 2)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
