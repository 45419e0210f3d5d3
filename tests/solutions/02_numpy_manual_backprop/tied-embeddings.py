def tied_loss_and_grads(state, batch, config):
    """Return loss and gradients of a model that scores tokens by wte as well (Press & Wolf 2017)."""
    params = {**state.params, "lm_head": state.params["wte"]}
    grads = {name: np.zeros_like(w) for name, w in params.items()}
    grads["lm_head"] = grads["wte"]  # one matrix: both uses add to it
    n_tokens = sum(len(doc) - 1 for doc in batch)
    loss = 0.0
    for doc in batch:
        doc_loss, saved = loss_fn(params, doc, n_tokens, config)
        backward(saved, params, grads, config)
        loss += doc_loss
    del grads["lm_head"]
    return loss, grads
