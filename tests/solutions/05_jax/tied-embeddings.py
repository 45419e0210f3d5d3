def tied_loss_and_grads(state, batch, config):
    """Return loss and gradients of a model that scores tokens by wte as well (Press & Wolf 2017)."""

    def tied_loss(params):
        return loss_fn({**params, "lm_head": params["wte"]}, pad(batch, config), config)

    return jax.value_and_grad(tied_loss)({name: w for name, w in state.params.items() if name != "lm_head"})
