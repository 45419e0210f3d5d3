def grouped_attention(q, k, v):
    """Return causal attention in which groups of query heads share keys and values (Ainslie et al. 2023)."""
    H, T, D = q.shape
    groups = q.reshape(len(k), -1, T, D)  # (G, H / G, T, D): a group's k and v are broadcast over its query heads
    attn_scores = groups @ k[:, None].swapaxes(-1, -2) * D**-0.5  # (G, H / G, T, T)
    attn_scores = jnp.where(jnp.tri(T, dtype=bool), attn_scores, -jnp.inf)
    return (softmax(attn_scores) @ v[:, None]).reshape(H, T, D)
