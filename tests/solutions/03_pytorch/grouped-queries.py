def grouped_attention(q, k, v):
    """Return causal attention in which groups of query heads share keys and values (Ainslie et al. 2023)."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
