def grouped_attention(q, k, v):
    """Return causal attention in which groups of query heads share keys and values (Ainslie et al. 2023)."""
    H, T, D = len(q), len(q[0]), len(q[0][0])
    out = []
    for h, q_head in enumerate(q):
        group = h // (H // len(k))
        rows = []
        for t in range(T):
            visible = range(t + 1)
            attn_weights = softmax([dot(q_head[t], k[group][s]) * D**-0.5 for s in visible])
            rows.append([dot(attn_weights, [v[group][s][d] for s in visible]) for d in range(D)])
        out.append(rows)
    return out
