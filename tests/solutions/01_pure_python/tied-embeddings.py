def tied_loss_and_grads(state, batch, config):
    """Return loss and gradients of a model that scores tokens by wte as well (Press & Wolf 2017)."""
    params = {**state.params, "lm_head": state.params["wte"]}  # the same Values: backward adds up both uses
    n_tokens = sum(len(doc) - 1 for doc in batch)
    total = 0.0
    for doc in batch:
        loss = loss_fn(params, doc, n_tokens, config)
        backward(loss)
        total += loss.data
    del params["lm_head"]
    grads = {name: [[w.grad for w in row] for row in rows] for name, rows in params.items()}
    for w in state.weights:
        w.grad = 0.0
    return total, grads
