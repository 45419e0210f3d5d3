def accumulated_loss_and_grads(state, parts, config):
    """Return the mean loss over the tokens of all parts, and its gradients, holding one part in memory at a time."""
    n_tokens = [sum(len(doc) - 1 for doc in batch) for batch in parts]
    total = 0.0
    for batch, n in zip(parts, n_tokens):
        loss = loss_fn(state.model, pad(batch)) * (n / sum(n_tokens))  # every token of all parts counts alike
        loss.backward()  # adds to the gradients that are there
        total += loss.item()
    grads = {name: weight.grad for name, weight in state.model.matrices().items()}
    state.optimizer.zero_grad()  # lets go of them; the tensors in grads remain
    return total, grads
