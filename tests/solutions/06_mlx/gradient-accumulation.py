def accumulated_loss_and_grads(state, parts, config):
    """Return the mean loss over the tokens of all parts, and its gradients, holding one part in memory at a time."""
    n_tokens = [sum(len(doc) - 1 for doc in batch) for batch in parts]
    total, grads = 0, tree_map(mx.zeros_like, state.params)
    for batch, n in zip(parts, n_tokens):
        share = n / sum(n_tokens)  # every token of all parts counts alike
        part_loss, part_grads = loss_and_grads(state.params, pad(batch), config)
        total = total + part_loss * share
        grads = tree_map(lambda so_far, grad, share=share: so_far + grad * share, grads, part_grads)
        mx.eval(total, grads)  # otherwise all parts' graphs would wait in memory for the end
    return total, grads
