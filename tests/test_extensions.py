"""What learners add to a lesson: right solutions pass their checks in every folder, and typical wrong ones are refused.

`solutions/FOLDER/NAME.py` is the text that takes the stub's place in that folder's lesson. What is the same whatever
the framework is stands in `solutions/every_folder`.
"""

from functools import cache

import pytest
from exercising import extended_text, solution, solved
from lessons import FOLDERS, REFERENCE, ROOT, each
from microgpt_harness.tools import mistakes
from microgpt_harness.tools.exercises import points, subjects
from microgpt_harness.tools.exercises.attempt_process import ExtensionAttempt
from microgpt_harness.tools.exercises.extensions import EXTENSIONS, Wrong
from microgpt_harness.tools.exercises.figures import Subject

SEEDS = range(2)
LONGEST_MESSAGE = 320  # about four lines of a terminal


CASES = [
    pytest.param(*case.values, name, marks=case.marks) for case in each(FOLDERS) for name in solved(case.values[0])
]


@cache
def extended(folder: str, text: str) -> Subject:
    """Return a folder's lesson with a text behind it."""
    path = ROOT / folder
    return subjects.load(path, extended_text(folder, text), path / "microgpt.py")


def attempt(folder: str, text: str, seed: int) -> ExtensionAttempt:
    subject = extended(folder, text)
    return ExtensionAttempt(ROOT / folder, subject, points.draw(subject.module, seed), seed)


@pytest.mark.parametrize("folder, name", CASES)
def test_a_solution_passes_its_check(folder, name):
    for seed in SEEDS:
        EXTENSIONS[name].check(attempt(folder, solution(folder, name), seed))


@pytest.mark.parametrize("folder, name", CASES)
def test_a_stub_asks_to_be_filled_in(folder, name):
    with pytest.raises(NotImplementedError):
        EXTENSIONS[name].check(attempt(folder, EXTENSIONS[name].stub, seed=0))


def test_every_extension_is_solved_in_the_reference():
    assert solved(REFERENCE) == list(EXTENSIONS)
    assert all(len(extension.hints) >= 3 for extension in EXTENSIONS.values())
    assert WRONG.keys() == EXTENSIONS.keys()


RECOMPUTES = """
def next_logits_cached(state, token, cache, config):
    tokens = [*(cache or []), token]
    return gpt(state.params, tokens, config)[0][-1], tokens
"""
RECOMPUTES_WITH_BALLAST = """
def next_logits_cached(state, token, cache, config):
    tokens, ballast = cache or ([], np.zeros(10_000))
    return gpt(state.params, [*tokens, token], config)[0][-1], ([*tokens, token], ballast)
"""
DECAYS_THROUGH_THE_GRADIENT = """
def adamw_step(state, batch, config, weight_decay):
    n_tokens = sum(len(doc) - 1 for doc in batch)
    state.grads.vector[:] = weight_decay * state.params.vector
    for doc in batch:
        _, saved = loss_fn(state.params, doc, n_tokens, config)
        backward(saved, state.params, state.grads, config)
    adam_step(state, config)
    return state
"""
MEAN_OF_MEANS = (
    ("    n_tokens = sum(len(doc) - 1 for batch in parts for doc in batch)\n", ""),
    ("in parts:\n", "in parts:\n        n_tokens = len(parts) * sum(len(doc) - 1 for doc in batch)\n"),
)
STOPS_BEFORE_P = (
    ("        kept.add(token)\n", ""),
    ("            break\n", "            break\n        kept.add(token)\n"),
)
NO_GRADS = "grads = {name: np.zeros_like(w) for name, w in state.params.items()}"
TWO_USES = '    grads["lm_head"] = grads["wte"]  # one matrix: both uses add to it\n'

# Wrong answers, each a text of its own or an edit of the reference's solution.
WRONG: dict[str, dict[str, str | mistakes.Edits]] = {
    "warm-up": {
        "begins at 0": (("(step + 1)", "step"),),
        "reaches the peak a step late": (("(step + 1) / warm_up_steps", "(step + 1) / (warm_up_steps + 1)"),),
        "the cosine counts from step 0": (("(step - warm_up_steps) / (", "step / ("),),
        "the cosine has all the steps": (("(config.num_steps - warm_up_steps)", "config.num_steps"),),
        "no cosine": (("0.5 * (1 + math.cos(math.pi * share))", "(1 - share)"),),
        "returns nothing": (("    return config.learning_rate * 0.5", "    config.learning_rate * 0.5"),),
    },
    "top-p": {
        "cuts before the token that reaches p": STOPS_BEFORE_P,
        "goes on where p is reached exactly": (("total >= p", "total > p"),),
        "not divided by the sum": (("prob / total", "prob"),),
        "from the least likely one up": (("-probs[token]", "probs[token]"),),
        "in another order": (("[prob / total", "sorted(prob / total"), ("enumerate(probs)]", "enumerate(probs))")),
        "only the tokens kept": ((" if token in kept else 0.0 for", " for"), ("(probs)]", "(probs) if token in kept]")),
    },
    "dropout": {
        "kept entries not divided": ((" / (1 - rate)", ""),),
        "divided by the rate": (("/ (1 - rate)", "/ (rate or 1)"),),
        "drops what should be kept": ((">= rate", "< rate"),),
        "drops at the limit": ((">= rate", "> rate"),),
        "samples with dropout": ((" if training else x", ""),),
        "whole rows": (("uniform >= rate", "uniform[:, :1] >= rate"),),
    },
    "gradient-accumulation": {
        "the mean of the parts' means": MEAN_OF_MEANS,
        "counts tokens, not predictions": (("len(doc) - 1", "len(doc)"),),
        "gradients of the last part": ((f"    {NO_GRADS}\n", ""), ("in parts:\n", f"in parts:\n        {NO_GRADS}\n")),
        "leaves gradients behind": ((NO_GRADS, "grads = state.grads"),),
        "only the loss": (("return loss, grads", "return loss"),),
    },
    "weight-decay": {
        "through the gradient": DECAYS_THROUGH_THE_GRADIENT,
        "without the learning rate": (("learning_rate * weight_decay", "weight_decay"),),
        "of the weights after the step": (("-= decay", "-= learning_rate * weight_decay * state.params.vector"),),
        "the next step's rate": (("math.pi * state.step", "math.pi * (state.step + 1)"),),
        "grows": (("-= decay", "+= decay"),),
        "none": (("-= decay", "-= 0"),),
        "returns nothing": (("    return state\n", ""),),
    },
    "tied-embeddings": {
        "the gradient of the first use alone": ((TWO_USES, ""),),
        "the gradient of the last use alone": (
            (TWO_USES, ""),
            ('    del grads["lm_head"]\n', '    grads["wte"] = grads.pop("lm_head")\n'),
        ),
        "two gradients": ((TWO_USES, ""), ('    del grads["lm_head"]\n', "")),
        "lm_head as it was": (('"lm_head": state.params["wte"]', '"lm_head": state.params["lm_head"]'),),
        "wte overwritten": (('{**state.params, "lm_head"', 'state.params | {"wte"'), ('["wte"]}', '["lm_head"]}')),
        "changes the weights": (("    n_tokens =", '    state.params["lm_head"][:] = params["wte"]\n    n_tokens ='),),
    },
    "byte-pair-tokenizer": {
        "of equal pairs the first that is met": (("(-counts[pair], pair)", "-counts[pair]"),),
        "of equal pairs the largest": (
            ("min(counts", "max(counts"),
            ("(-counts[pair], pair)", "(counts[pair], pair)"),
        ),
        "pairs across documents": (("for char in doc] for doc in docs]", "for char in ''.join(docs)]]"),),
        "encodes with the last merge first": (("enumerate(self.merges)", "[*enumerate(self.merges)][::-1]"),),
        "encodes without merges": (("enumerate(self.merges)", "()"),),
        "no BOS": (("[self.bos, *tokens, self.bos]", "tokens"),),
        "bos among the characters": (("self.bos = len(self.texts)", "self.bos = len(self.chars)"),),
        "decodes to a list": (('"".join(self.texts[token] for token in tokens)', "[*map(str, tokens)]"),),
    },
    "rotary-positions": {
        "all pairs at one speed": (("(-2 * np.arange(D // 2) / D)", "(-2 * np.zeros(D // 2))"),),
        "half the speeds": (("-2 * np", "-1 * np"),),
        "all rows at one position": (("np.arange(T)", "np.zeros(T)"),),
        "positions from 1": (("first_position + ", "first_position + 1 + "),),
        "without the first position": (("first_position + ", ""),),
        "a reflection": (("a * sin + b * cos", "a * sin - b * cos"),),
        "adds positions": (("[a * cos - b * sin, a * sin + b * cos]", "[a + sin, b + cos - 1]"),),
        "turns nothing": (("[a * cos - b * sin, a * sin + b * cos]", "[a, b]"),),
        "columns": (("return np", "return 0 * np"),),
    },
    "grouped-queries": {
        "groups in turn": (("np.repeat(heads, H // len(heads), axis=0)", "np.tile(heads, (H // len(heads), 1, 1))"),),
        "the first group alone": (("np.repeat(heads, H // len(heads), axis=0)", "np.repeat(heads[:1], H, axis=0)"),),
        "not causal": (("np.tri(T, dtype=bool)", "True"),),
        "not divided by √D": ((" * D**-0.5", ""),),
        "divided by the heads' number": (("D**-0.5", "H**-0.5"),),
        "side by side": (("softmax(attn_scores) @ v", "merge_heads(softmax(attn_scores) @ v)"),),
    },
    "key-value-cache": {
        "every token at position 0": (("= cache[0][0].shape[1]", "= 0"),),
        "a position too late": (("= cache[0][0].shape[1]", "= min(cache[0][0].shape[1] + 1, config.block_size - 1)"),),
        "keeps only the last token": (("longer.append((keys, values))", "longer.append((k, v))"),),
        "keys without values": (("longer.append((keys, values))", "longer.append((keys, keys))"),),
        "not divided by √D": ((" * D**-0.5", ""),),
        "no residual": (("residual = x + linear", "residual = linear"),),
        "computes all again": RECOMPUTES,
        "computes all again, beside a large cache": RECOMPUTES_WITH_BALLAST,
        "returns no cache": (('["lm_head"])[0], longer', '["lm_head"])[0]'),),
    },
}


@pytest.mark.parametrize("name, wrong", [(name, wrong) for name, wrongs in WRONG.items() for wrong in wrongs])
def test_a_wrong_answer_is_refused_in_one_line(name, wrong):
    answer = WRONG[name][wrong]
    text = answer if isinstance(answer, str) else mistakes.apply(solution(REFERENCE, name), answer)
    for seed in SEEDS:
        with pytest.raises(Wrong) as refused:
            EXTENSIONS[name].check(attempt(REFERENCE, text, seed))
        message = str(refused.value)
        assert message and "\n" not in message and len(message) <= LONGEST_MESSAGE, message


@pytest.mark.parametrize("name", EXTENSIONS)
def test_what_returns_nothing_or_has_another_name_is_refused(name):
    stub = EXTENSIONS[name].stub
    if stub.lstrip().startswith("def "):
        with pytest.raises(Wrong, match=r"None|nothing"):
            EXTENSIONS[name].check(attempt(REFERENCE, stub.replace("raise NotImplementedError", "return None"), seed=0))
    with pytest.raises(Wrong, match="the file has no"):
        EXTENSIONS[name].check(attempt(REFERENCE, "", seed=0))
