def accumulated_loss_and_grads(state, parts, config):
    """Return the mean loss over the tokens of all parts, and its gradients, holding one part in memory at a time."""
    n_tokens = sum(len(doc) - 1 for batch in parts for doc in batch)
    total = 0.0
    for batch in parts:
        for doc in batch:
            loss = loss_fn(state.params, doc, n_tokens, config)
            backward(loss)  # adds to the gradients that are there
            total += loss.data
    grads = {name: [[w.grad for w in row] for row in rows] for name, rows in state.params.items()}
    for w in state.weights:
        w.grad = 0.0
    return total, grads
