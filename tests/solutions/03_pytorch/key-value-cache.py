@torch.inference_mode()
def next_logits_cached(state, token, cache, config):
    """Return the logits (V) of what comes after a token, computed for its position only, and the cache with it.

    The cache is a list of (keys, values), one for each layer, each (H, T, D) for the T tokens so far.
    """
    model = state.model
    position = cache[0][0].shape[-2] if cache else 0
    x = rmsnorm(model.wte.weight[token] + model.wpe.weight[position])  # (C)
    longer = []
    for i, layer in enumerate(model.layers):
        attn, normed = layer.attn, rmsnorm(x)
        q, k, v = (w(normed).view(config.n_head, 1, -1) for w in (attn.wq, attn.wk, attn.wv))  # (H, 1, D)
        if cache:
            k, v = torch.cat([cache[i][0], k], dim=-2), torch.cat([cache[i][1], v], dim=-2)  # (H, T, D)
        longer.append((k, v))
        attn_out = F.scaled_dot_product_attention(q, k, v)  # nothing comes later: no mask
        residual = x + attn.wo(attn_out.flatten())
        x = residual + layer.mlp(rmsnorm(residual))
    return model.lm_head(x), longer
