def accumulated_loss_and_grads(state, parts, config):
    """Return the mean loss over the tokens of all parts, and its gradients, holding one part in memory at a time."""
    n_tokens = sum(len(doc) - 1 for batch in parts for doc in batch)
    loss = 0.0
    grads = {name: np.zeros_like(w) for name, w in state.params.items()}
    for batch in parts:
        for doc in batch:
            doc_loss, saved = loss_fn(state.params, doc, n_tokens, config)
            backward(saved, state.params, grads, config)
            loss += doc_loss
    return loss, grads
