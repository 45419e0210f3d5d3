def next_logits_cached(state, token, cache, config):
    """Return the logits (V) of what comes after a token, computed for its position only, and the cache with it.

    The cache has one size from the first token on, so that this compiles once: (n_layer, 2, H, block_size, D) for keys
    and values, and the number of tokens in it.
    """
    params = state.params
    H, D = config.n_head, config.n_embd // config.n_head
    if cache is None:
        cache = jnp.zeros((config.n_layer, 2, H, config.block_size, D), params["wte"].dtype), 0
    kept, position = cache
    x = rmsnorm(params["wte"][token] + params["wpe"][position])  # (C)
    for i in range(config.n_layer):
        layer = f"layer{i}"
        q, k, v = (linear(rmsnorm(x), params[f"{layer}.attn_{w}"]).reshape(H, D) for w in ("wq", "wk", "wv"))
        kept = kept.at[i, :, :, position].set(jnp.stack([k, v]))
        keys, values = kept[i]  # (H, block_size, D)
        attn_scores = (keys @ q[..., None])[..., 0] * D**-0.5  # (H, block_size)
        attn_scores = jnp.where(jnp.arange(config.block_size) <= position, attn_scores, -jnp.inf)  # the rest is empty
        attn_out = (softmax(attn_scores)[:, None] @ values).reshape(-1)  # (C)
        residual = x + linear(attn_out, params[f"{layer}.attn_wo"])
        x = residual + mlp(rmsnorm(residual), params, layer)
    return linear(x, params["lm_head"]), (kept, position + 1)
