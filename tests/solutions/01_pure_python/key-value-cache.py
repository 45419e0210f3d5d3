def next_logits_cached(state, token, cache, config):
    """Return the logits (V) of what comes after a token, computed for its position only, and the cache with it.

    The cache is a list of (keys, values), one for each layer: lists of the vectors (C) of all tokens so far.
    """
    params = state.params
    D = config.n_embd // config.n_head
    cache = cache or [([], []) for _ in range(config.n_layer)]
    position = len(cache[0][0])
    x = rmsnorm(add_vectors(params["wte"][token], params["wpe"][position]))
    for i, (keys, values) in enumerate(cache):
        layer = f"layer{i}"
        q, k, v = (linear(rmsnorm(x), params[f"{layer}.attn_{w}"]) for w in ("wq", "wk", "wv"))
        keys.append(k)
        values.append(v)
        attn_out = []
        for start in range(0, config.n_embd, D):
            head = slice(start, start + D)
            attn_weights = softmax([dot(q[head], key[head]) * D**-0.5 for key in keys])
            attn_out += [dot(attn_weights, column) for column in zip(*(value[head] for value in values))]
        residual = add_vectors(x, linear(attn_out, params[f"{layer}.attn_wo"]))
        x = add_vectors(residual, mlp(rmsnorm(residual), params, layer))
    logits = linear(x, params["lm_head"])
    tape.clear()  # there is nothing to learn here
    return logits, cache
