def grouped_attention(q, k, v):
    """Return causal attention in which groups of query heads share keys and values (Ainslie et al. 2023)."""
    H, T, D = q.shape
    k, v = (np.repeat(heads, H // len(heads), axis=0) for heads in (k, v))  # (H, T, D): groups 0, 0, …, 1, 1, …
    attn_scores = q @ k.swapaxes(-1, -2) * D**-0.5  # (H, T, T)
    attn_scores = np.where(np.tri(T, dtype=bool), attn_scores, -np.inf)
    return softmax(attn_scores) @ v
