def tied_loss_and_grads(state, batch, config):
    """Return loss and gradients of a model that scores tokens by wte as well (Press & Wolf 2017)."""
    model, own = state.model, state.model.lm_head.weight
    model.lm_head.weight = model.wte.weight  # one parameter in two places: autograd adds up what comes back from both
    loss = loss_fn(model, pad(batch))
    loss.backward()
    grads = {name: weight.grad for name, weight in model.matrices().items()}
    model.zero_grad()  # lets go of them; the tensors in grads remain
    model.lm_head.weight = own
    return loss.item(), grads
