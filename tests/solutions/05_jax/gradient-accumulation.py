def accumulated_loss_and_grads(state, parts, config):
    """Return the mean loss over the tokens of all parts, and its gradients, holding one part in memory at a time."""
    n_tokens = [sum(len(doc) - 1 for doc in batch) for batch in parts]
    total = jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params)
    for batch, n in zip(parts, n_tokens):
        result = loss_and_grads(state.params, pad(batch, config), config)
        # every token of all parts counts alike
        total = jax.tree.map(lambda so_far, mean, n=n: so_far + mean * (n / sum(n_tokens)), total, result)
    return total
