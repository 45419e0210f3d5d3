"""Exercises: a right answer passes however it is written, a known mistake is named, anything else is not.

A few of each for every folder, more for one: every_exercise.py and distances.py try all, which takes longer.
"""

import exercising
import pytest
from every_exercise import EXPECTED, Case, of_answers
from exercising import answers, broken, exercises, lesson_text, to_fill_in, verdict
from lessons import FOLDERS, REFERENCE, each
from microgpt_harness.tools import mistakes
from microgpt_harness.tools.exercises import figures
from microgpt_harness.tools.exercises.tensors import TOLERANCE, distance

FEW = 3  # of each kind, in a folder
MORE = 20  # in the reference's


def few_of_each() -> list:
    """Return (folder, case): of every kind of answer a few, spread over the exercises."""
    chosen = []
    for folder in each(FOLDERS):
        [name] = folder.values
        of_kind: dict[str, list[Case]] = {}
        for case in of_answers(name, seeds=1):
            of_kind.setdefault(case.what, []).append(case)
        for what, cases in of_kind.items():
            every = -(-len(cases) // (MORE if name == REFERENCE else FEW))
            for number, case in enumerate(cases[::every]):
                title = f"{name}-{case.exercise}-{case.called[0] if case.called else what}-{number}"
                chosen.append(pytest.param(name, case, id=title.replace(" ", "-"), marks=folder.marks))
    return chosen


@pytest.mark.parametrize(("folder", "case"), few_of_each())
def test_a_right_answer_passes_and_only_a_known_mistake_is_called_by_its_name(folder, case, tmp_path):
    found = verdict(folder, case.exercise, case.text, tmp_path, case.seed)
    assert found.kind in case.expected, found
    assert tuple(name for name, _ in found.looks_like) == case.called, found


@pytest.mark.parametrize("folder", each(["05_jax", "06_mlx"]))
def test_a_mistake_is_named_although_the_list_makes_it_in_another_function(folder, tmp_path):
    not_decayed = (("schedule(state.step, config)", "config.learning_rate"),)  # in train_step
    found = verdict(folder, "train-step", mistakes.apply(lesson_text(folder), not_decayed), tmp_path)
    assert [name for name, _ in found.looks_like] == ["learning-rate-not-decayed"], found


def test_nan_everywhere_is_not_called_by_a_mistake_that_is_made_where_the_attempt_is_right(tmp_path):
    """Where only loss_fn is changed, the logits are the lesson's and not computed: so no mistake in attention fits."""
    text = lesson_text(REFERENCE)
    for old, new in (
        ("np.array(doc[1:])", "np.array(doc[:-1])"),
        ("log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))", "log_probs = np.log(logits)"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    found = verdict(REFERENCE, "loss", text, tmp_path, seed=5)
    assert found.where.name == "targets"  # before the first nan
    assert not found.looks_like, found


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_the_lesson_s_own_body_passes(folder, tmp_path):
    for exercise in to_fill_in(folder)[::10]:
        assert verdict(folder, exercise.name, lesson_text(folder), tmp_path).right, exercise.name


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_two_answers_are_written_for_a_third_of_the_exercises(folder):
    if not answers(folder, "right"):
        pytest.skip("nobody has written answers for this folder")
    twice = {name for name in exercises(folder) if sum(a.exercise == name for a in answers(folder, "right")) >= 2}
    assert 3 * len(twice) >= len(to_fill_in(folder))
    assert len(answers(folder, "wrong")) >= 5


def test_no_two_mistakes_come_near_each_other(record):
    """In one folder, at one point; distances.py tries all folders at as many points as one likes."""
    nearest = min(exercising.distances(REFERENCE, seed=1).values())
    record("nearest two mistakes: the tolerance / their distance", REFERENCE, TOLERANCE / nearest, bound=1e-3)


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_stages_that_a_mistake_cannot_touch_have_the_lesson_s_numbers(folder):
    at = exercising.checker(folder, 1)
    loaded = [at.diagnosis().load(mistake) for mistake in at.diagnosis().known]
    untouched = [(subject, stages) for subject, stages in loaded if stages]
    assert untouched
    for subject, stages in untouched[:: 1 if folder == REFERENCE else 4]:
        for stage in stages:
            assert distance(figures.compute(subject, at.point(), stage).figures, at.right_figures(stage)) == 0, stage


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_an_exercise_has_words_for_what_may_go_wrong(folder, tmp_path):
    """What ends a process is tried in one of its own: test_exercise_program.py, every_exercise.py for all of them."""
    for exercise in to_fill_in(folder)[:: 3 if folder == REFERENCE else 8]:
        for what, text in broken(folder, exercise).items():
            if what == "endless loop":
                continue
            found = verdict(folder, exercise.name, text, tmp_path)
            where = f"{exercise.name}, {what}: {found.says}"
            assert found.kind in EXPECTED[what] and found.says and not found.looks_like, where
            assert all("\n" not in sentence and "Traceback" not in sentence for sentence in found.says), where
            if what == "crash":
                assert any("`undefined_name`: NameError" in sentence for sentence in found.says), where
