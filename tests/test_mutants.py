"""The comparisons can fail: each lesson, broken on purpose in every way below, is caught by the one meant to.

A mutant is a lesson loaded from changed source. Caught means that the comparison raises Different, which it also does
for the real lesson when somebody breaks it; a mutant that crashes has not been caught, and one whose text has gone from
the lesson fails its test and has to be written anew.

No mutant of this list survives. SAME lists changes that must survive, as they change no more than rounding does:
without them, a comparison that fails always would look like one that catches everything.
"""

import pytest
from comparisons import (
    Different,
    compare_adam_step,
    compare_finite_differences,
    compare_main,
    compare_one_step,
    compare_point,
    compare_samples,
    judge,
    short_main,
)
from lessons import FLOAT32_FOLDERS, FOLDERS, REFERENCE, Edit, each, load

PYTHON, NUMPY, TORCH, BATCHED, JAX, MLX = FOLDERS
BY_FAR = 1000  # times the bound: the least that one step in float32 must show of a mistake

# What the name says -> folder -> (text in the lesson, its replacement), one or more pairs.
MODEL = {
    "no causal mask": {
        PYTHON: [("visible = range(t + 1)", "visible = range(len(x))")],
        NUMPY: [("k.shape[1])] = -np.inf", "k.shape[1])] += 0")],
        TORCH: [("is_causal=True", "is_causal=False")],
        BATCHED: [("is_causal=True", "is_causal=False")],
        JAX: [("jnp.where(causal, attn_scores, -jnp.inf)", "attn_scores")],
        MLX: [("attn_scores + causal_mask(T, x.dtype)", "attn_scores")],
    },
    "no 1/√D": {
        PYTHON: [(" * D**-0.5", "")],
        NUMPY: [("k.transpose(0, 2, 1) * q.shape[2] ** -0.5", "k.transpose(0, 2, 1)")],
        TORCH: [("is_causal=True", "is_causal=True, scale=1.0")],
        BATCHED: [("is_causal=True", "is_causal=True, scale=1.0")],
        JAX: [(" * D**-0.5", "")],
        MLX: [(" * D**-0.5", "")],
    },
    "ReLU for ReLU²": {
        PYTHON: [("Value(relu * relu, (self,), (2 * relu,))", "Value(relu, (self,), (float(relu > 0),))")],
        NUMPY: [("h = relu * relu", "h = relu")],
        TORCH: [("F.relu(self.fc1(x)).square()", "F.relu(self.fc1(x))")],
        BATCHED: [("F.relu(self.fc1(x)).square()", "F.relu(self.fc1(x))")],
        JAX: [("h = jnp.square(", "h = (")],
        MLX: [("h = mx.square(", "h = (")],
    },
    "norm eps 1e-6": {folder: [("1e-5)", "1e-6)")] for folder in FOLDERS},
    "no input norm": {
        PYTHON: [("rmsnorm(add_vectors(tok_emb, pos_emb))", "add_vectors(tok_emb, pos_emb)")],
        NUMPY: [("rmsnorm(tok_emb", "(lambda x: (x, np.ones_like(x)))(tok_emb")],
        TORCH: [("rmsnorm(tok_emb", "(tok_emb")],
        BATCHED: [("rmsnorm(tok_emb", "(tok_emb")],
        JAX: [("rmsnorm(tok_emb", "(tok_emb")],
        MLX: [("rmsnorm((tok_emb", "((tok_emb")],
    },
    "an extra final norm": {
        PYTHON: [('linear(xt, params["lm_head"])', 'linear(rmsnorm(xt), params["lm_head"])')],
        NUMPY: [('return linear(x, params["lm_head"])', 'return linear(rmsnorm(x)[0], params["lm_head"])')],
        TORCH: [("self.lm_head(x)", "self.lm_head(rmsnorm(x))")],
        BATCHED: [("self.lm_head(x)", "self.lm_head(rmsnorm(x))")],
        JAX: [('linear(x, params["lm_head"])', 'linear(rmsnorm(x), params["lm_head"])')],
        MLX: [('linear(x, params["lm_head"])', 'linear(rmsnorm(x), params["lm_head"])')],
    },
    "q and k swapped": {folder: [("q, k, v = ", "k, q, v = ")] for folder in FOLDERS},
}

# PyTorch's own Adam does this in 03 and 04; there a plain one is put in its place, wrong in one way only (see SAME).
PLAIN_ADAM = """

def plain_adam(weights, gradients, adam_m, adam_v, state_steps, lr, beta1, beta2, eps, correct, eps_inside, **unused):
    for w, gradient, m, v, steps in zip(weights, gradients, adam_m, adam_v, state_steps):
        m.lerp_(gradient, 1 - beta1)
        v.lerp_(gradient**2, 1 - beta2)
        taken = steps.item() + 1
        m_hat, v_hat = (m / (1 - beta1**taken), v / (1 - beta2**taken)) if correct else (m, v)
        w -= lr * m_hat / ((v_hat + eps).sqrt() if eps_inside else v_hat.sqrt() + eps)
"""


def plain_adam(correct: bool = True, eps_inside: bool = False) -> list[tuple[str, str]]:
    return [("    adam(", "    plain_adam("), ("fused=True", f"correct={correct}, eps_inside={eps_inside}")]


LATER = [("state.step / config.num_steps", "(state.step + 1) / config.num_steps")]
DOCUMENT_MEAN = [
    ("loss_fn(state.params, doc, n_tokens, config)", "loss_fn(state.params, doc, len(batch) * (len(doc) - 1), config)")
]

STEP = {
    "no bias correction": {
        PYTHON: [("m / (1 - config.beta1**state.step)", "m"), ("v / (1 - config.beta2**state.step)", "v")],
        NUMPY: [
            ("learning_rate / (1 - config.beta1**state.step)", "learning_rate"),
            ("np.divide(v, 1 - config.beta2**state.step,", "np.divide(v, 1,"),
        ],
        TORCH: plain_adam(correct=False),
        BATCHED: plain_adam(correct=False),
        JAX: [("m / (1 - config.beta1**step)", "m"), ("v / (1 - config.beta2**step)", "v")],
        MLX: [("learning_rate / m_correction", "learning_rate"), ("mx.sqrt(v / v_correction)", "mx.sqrt(v)")],
    },
    "Adam eps inside the root": {
        PYTHON: [("math.sqrt(v_hat) + config.eps_adam", "math.sqrt(v_hat + config.eps_adam)")],
        NUMPY: [("np.add(np.sqrt(v_hat, out=buffer), config.eps_adam,", "np.sqrt(v_hat + config.eps_adam,")],
        TORCH: plain_adam(eps_inside=True),
        BATCHED: plain_adam(eps_inside=True),
        JAX: [("jnp.sqrt(v_hat) + config.eps_adam", "jnp.sqrt(v_hat + config.eps_adam)")],
        MLX: [("mx.sqrt(v / v_correction) + config.eps_adam", "mx.sqrt(v / v_correction + config.eps_adam)")],
    },
    "schedule one step off": dict.fromkeys(FOLDERS, LATER),
    "document mean in place of token mean": {
        PYTHON: DOCUMENT_MEAN,
        NUMPY: DOCUMENT_MEAN,
        TORCH: [("loss_fn(state.model, doc, n_tokens)", "loss_fn(state.model, doc, len(batch) * (len(doc) - 1))")],
        BATCHED: [
            (
                "ignore_index=IGNORED)",
                'reduction="none").view(targets.shape).sum(1).div((targets != IGNORED).sum(1)).mean()',
            )
        ],
        JAX: [
            (
                "jnp.mean(losses, where=targets != PADDING)",
                "jnp.mean(jnp.mean(losses, axis=1, where=targets != PADDING))",
            )
        ],
        MLX: [
            (
                "(t < len(doc) - 1) / n_tokens",
                "(t < len(doc) - 1) / (len(doc) - 1) / len(batch)",
            )
        ],
    },
    "gradients not clipped": {folder: [("if config.clip_grad", "if False")] for folder in FOLDERS},
}
WARMER = [("/ config.temperature", "* config.temperature")]
SAMPLING = {
    "sampling with the wrong temperature": {
        folder: [("1 / config.temperature", "config.temperature")] if folder == PYTHON else WARMER for folder in FOLDERS
    }
}

# What a lesson alone trains on and draws from. Its engine does not use this: the harness brings its own.
MAIN = {
    "other documents": {folder: [("docs[(step * CONFIG", "docs[(7 * step * CONFIG")] for folder in FOLDERS},
    "weights of another generator": {
        folder: [
            ("init_params(CONFIG, tokenizer.vocab_size, rng)", "init_params(CONFIG, tokenizer.vocab_size, random)")
        ]
        for folder in FOLDERS
    },
    "samples of another generator": {
        folder: [("generate(state, tokenizer.bos, rng, CONFIG)", "generate(state, tokenizer.bos, random, CONFIG)")]
        for folder in FOLDERS
    },
}

# 02 keeps what it computed for earlier tokens.
PAST = {
    "earlier tokens forgotten": [("past and past[i]", "None")],
    "another layer's past": [("past and past[i]", "past and past[0]")],
    "past keys and values swapped": [("zip(past[:2], (k, v))", "zip(past[1::-1], (k, v))")],
    "every token at position 0": [("len(tokens) - 1, past)", "0, past)")],
}

# 02 differentiates by hand, so there a gradient can be wrong and the loss right, and the model wrong and its gradients
# right for it. In MODEL above, 02's gradients stay those of the right model.
BACKWARD = {
    "factor 2 of ReLU² forgotten": [("dh * 2 * relu", "dh * relu")],
    "a repeated token counted once": [('np.add.at(grads["wte"], tokens, dx)', 'grads["wte"][tokens] += dx')],
    "position's gradient assigned, not added": [
        ('grads["wpe"][: len(tokens)] += dx', 'grads["wpe"][: len(tokens)] = dx')
    ],
    "matrix's gradient assigned, not added": [("dw += dy.T @ x", "dw[:] = dy.T @ x")],
    "residual around attention skipped": [("return dresidual + rmsnorm_backward(", "return rmsnorm_backward(")],
    "residual around mlp skipped": [("dresidual = dout + rmsnorm_backward(", "dresidual = rmsnorm_backward(")],
    "norm's scale taken for a constant": [("(dy - y * np.vecdot(dy, y)[:, None] / y.shape[1])", "dy")],
    "norm on the embeddings skipped": [("dx = rmsnorm_backward(dx, x_embedded, scale)", "")],
    "softmax's denominator taken for a constant": [("p * (dp - np.vecdot(dp, p)[..., None])", "p * dp")],
    "one_hot not subtracted": [("dlogits[targets] -= 1", "")],
    "1/√D forgotten": [("attn_weights) * q.shape[2] ** -0.5", "attn_weights)")],
    "dq and dk swapped": [("dq, dk = ", "dk, dq = ")],
    "dk not transposed": [("dattn_scores.transpose(0, 2, 1) @ q", "dattn_scores @ q")],
    "v's gradient by weights not transposed": [
        ("attn_weights.transpose(0, 2, 1) @ dattn_out", "attn_weights @ dattn_out")
    ],
}
BOTH_WAYS = {
    "no 1/√D": [*MODEL["no 1/√D"][NUMPY], *BACKWARD["1/√D forgotten"]],
    "ReLU for ReLU²": [("h = relu * relu", "h = relu"), ("dh * 2 * relu", "dh * (relu > 0)")],
    "no input norm": [*MODEL["no input norm"][NUMPY], *BACKWARD["norm on the embeddings skipped"]],
    "q and k swapped": [
        ("q, k, v = (", "k, q, v = ("),
        ('("wq", merge_heads(dq)), ("wk", merge_heads(dk))', '("wk", merge_heads(dq)), ("wq", merge_heads(dk))'),
    ],
    "an extra final norm": [
        (
            'return linear(x, params["lm_head"]), (*saved, x)',
            'y, s = rmsnorm(x)\n    return linear(y, params["lm_head"]), (*saved, (y, s), y)',
        ),
        ("for i in reversed(", "dx = rmsnorm_backward(dx, *block_saved[-1])\n    for i in reversed("),
    ],
}

SAME = {
    "largest score not subtracted in softmax": {
        PYTHON: [("(logit + -largest).exp()", "logit.exp()")],
        NUMPY: [("np.exp(logits - logits.max(axis=-1, keepdims=True))", "np.exp(logits)")],
    },
    "plain Adam in place of PyTorch's": {
        TORCH: plain_adam(),
        BATCHED: plain_adam(),
    },
    "-1e9 for -inf in the mask": {
        NUMPY: [("k.shape[1])] = -np.inf", "k.shape[1])] = -1e9")],
        MLX: [("-math.inf", "-1e9")],
    },
}


def mutant(folder, changes, *edits):
    """Load the changed lesson. It is an error, not a catch, if the text to change is not there exactly once."""
    uses_plain_adam = any("plain_adam" in new for _, new in changes)
    return load(folder, (*edits, *(Edit(old, new) for old, new in changes)), PLAIN_ADAM if uses_plain_adam else "\n")


def cases(mutants, folders=FOLDERS):
    return [
        pytest.param(*folder.values, changes, id=f"{name}-{folder.values[0]}", marks=folder.marks)
        for name, by_folder in mutants.items()
        for folder in each([folder for folder in by_folder if folder in folders])
        for changes in [by_folder[folder.values[0]]]
    ]


def in_numpy(mutants):
    return pytest.mark.parametrize("changes", mutants.values(), ids=mutants.keys())


@pytest.mark.parametrize("mutants", [MODEL, STEP, SAMPLING, MAIN], ids=["model", "step", "sampling", "main"])
def test_every_mutant_exists_for_every_lesson(mutants):
    assert all(list(by_folder) == FOLDERS for by_folder in mutants.values())


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_an_unchanged_lesson_passes(folder):
    """The way a mutant goes, with nothing changed."""
    lesson = mutant(folder, [("# %% Model", "# %% Model")])
    judge(compare_point(lesson))
    judge(compare_adam_step(lesson))
    compare_samples(lesson)


@pytest.mark.parametrize(("folder", "changes"), cases(SAME))
def test_a_change_that_changes_nothing_passes(folder, changes):
    lesson = mutant(folder, changes)
    judge(compare_point(lesson))
    judge(compare_adam_step(lesson))


def test_an_edit_whose_text_has_gone_is_an_error():
    with pytest.raises(ValueError, match="found 0 times"):
        mutant(REFERENCE, [("this text is not there", "")])


@pytest.mark.parametrize(("folder", "changes"), cases(MODEL))
def test_the_point_catches(folder, changes):
    lesson = mutant(folder, changes)
    with pytest.raises(Different):
        judge(compare_point(lesson))


@pytest.mark.parametrize(("folder", "changes"), cases(STEP))
def test_the_adam_step_catches(folder, changes):
    lesson = mutant(folder, changes)
    with pytest.raises(Different):
        judge(compare_adam_step(lesson))


@pytest.mark.parametrize(("folder", "changes"), cases(MODEL | STEP, FLOAT32_FOLDERS))
def test_one_step_in_float32_catches_by_far(folder, changes, record, request):
    """By so many times the bound that no processor's rounding can hide a mistake or make one."""
    comparison = compare_one_step(mutant(folder, changes), "clipped")
    times = max(difference / bound for difference, bound in comparison.values())
    record("bound of one step / what a mistake moves", request.node.callspec.id, 1 / times, 1 / BY_FAR)


@pytest.mark.parametrize(("folder", "changes"), cases(SAMPLING))
def test_the_samples_catch(folder, changes):
    lesson = mutant(folder, changes)
    with pytest.raises(Different):
        compare_samples(lesson)


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_an_unchanged_lesson_alone_prints_what_the_reference_computes(folder):
    compare_main(load(folder, short_main(folder)))


@pytest.mark.parametrize(("folder", "changes"), cases(MAIN))
def test_what_a_lesson_alone_prints_catches(folder, changes):
    lesson = mutant(folder, changes, *short_main(folder))
    with pytest.raises(Different):
        compare_main(lesson)


@in_numpy(PAST)
def test_the_samples_catch_a_wrong_past(changes):
    lesson = mutant(NUMPY, changes)
    with pytest.raises(Different):
        compare_samples(lesson)


@in_numpy(BACKWARD)
def test_the_point_catches_a_wrong_gradient(changes):
    lesson = mutant(NUMPY, changes)
    with pytest.raises(Different):
        judge(compare_point(lesson))


@in_numpy(BACKWARD)
def test_finite_differences_catch_a_wrong_gradient(changes):
    lesson = mutant(NUMPY, changes)
    with pytest.raises(Different):
        judge(compare_finite_differences(lesson))


@in_numpy(BOTH_WAYS)
def test_the_point_catches_a_wrong_model_with_gradients_to_match(changes):
    lesson = mutant(NUMPY, changes)
    judge(compare_finite_differences(lesson, entries=10))
    with pytest.raises(Different):
        judge(compare_point(lesson))
