def next_logits_cached(state, token, cache, config):
    """Return the logits (V) of what comes after a token, computed for its position only, and the cache with it.

    The cache is a list of (keys, values), one for each layer, each (H, T, D) for the T tokens so far.
    """
    params = state.params
    H, D = config.n_head, config.n_embd // config.n_head
    position = cache[0][0].shape[1] if cache else 0
    x = rmsnorm(params["wte"][token] + params["wpe"][position])  # (C)
    longer = []
    for i in range(config.n_layer):
        layer = f"layer{i}"
        qkv = (linear(rmsnorm(x), params[f"{layer}.attn_{w}"]) for w in ("wq", "wk", "wv"))
        q, k, v = (heads.reshape(H, 1, D) for heads in qkv)
        if cache:
            k, v = mx.concatenate([cache[i][0], k], axis=1), mx.concatenate([cache[i][1], v], axis=1)  # (H, T, D)
        longer.append((k, v))
        attn_weights = softmax(q @ k.swapaxes(-1, -2) * D**-0.5)  # (H, 1, T): nothing comes later, no mask
        residual = x + linear((attn_weights @ v).reshape(-1), params[f"{layer}.attn_wo"])
        x = residual + mlp(rmsnorm(residual), params, layer)
    return linear(x, params["lm_head"]), longer
