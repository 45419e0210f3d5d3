def next_logits_cached(state, token, cache, config):
    """Return the logits (V) of what comes after a token, computed for its position only, and the cache with it.

    The cache is a list of (keys, values), one for each layer, each (H, T, D) for the T tokens so far.
    """
    params = state.params
    H, D = config.n_head, config.n_embd // config.n_head
    cache = cache or [(np.empty((H, 0, D)), np.empty((H, 0, D)))] * config.n_layer
    position = cache[0][0].shape[1]
    x, _ = rmsnorm(params["wte"][[token]] + params["wpe"][[position]])  # (1, C)
    longer = []
    for i, (keys, values) in enumerate(cache):
        layer = f"layer{i}"
        normed, _ = rmsnorm(x)
        qkv = (linear(normed, params[f"{layer}.attn_{w}"]) for w in ("wq", "wk", "wv"))
        q, k, v = (split_heads(heads, config) for heads in qkv)  # (H, 1, D)
        keys, values = np.concatenate([keys, k], axis=1), np.concatenate([values, v], axis=1)
        longer.append((keys, values))
        attn_weights = softmax(q @ keys.swapaxes(-1, -2) * D**-0.5)  # (H, 1, T): nothing comes later, no mask
        residual = x + linear(merge_heads(attn_weights @ values), params[f"{layer}.attn_wo"])
        normed, _ = rmsnorm(residual)
        mlp_out, _ = mlp(normed, params, layer)
        x = residual + mlp_out
    return linear(x, params["lm_head"])[0], longer
