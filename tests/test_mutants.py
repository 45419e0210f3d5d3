"""The comparisons can fail: each lesson, broken on purpose in every way below, is caught by the one meant to.

A mutant is a lesson with a mistake from its folder's mistakes.toml. Caught means that the comparison raises Different,
which it also does for the real lesson when somebody breaks it; a mutant that crashes has not been caught, and one whose
text has gone from the lesson fails its test and has to be written anew.

No mutant survives. The edits under [same] must survive, as they change no more than rounding does: without them, a
comparison that fails always would look like one that catches everything.
"""

import contextlib
import math

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
from lessons import FLOAT32_FOLDERS, FOLDERS, REFERENCE, ROOT, each, load
from microgpt_harness.system.errors import UserError
from microgpt_harness.tools import mistakes
from microgpt_harness.tools.exercises import subjects

BY_FAR = 1000  # times the bound: the least that one step in float32 must show of a mistake
MISTAKES = {folder: mistakes.read(ROOT / folder) for folder in FOLDERS}
HAND_WRITTEN = [folder for folder in FOLDERS if any(m.caught_by == "gradients" for m in MISTAKES[folder])]


def cases(folders, wanted):
    """Return (folder, edits) for each of the folders' mistakes for which wanted(mistake) is true."""
    return pytest.mark.parametrize(
        ("folder", "edits"),
        [
            pytest.param(*folder.values, mistake.edits, id=f"{mistake.name}-{folder.values[0]}", marks=folder.marks)
            for folder in each(folders)
            for mistake in MISTAKES[folder.values[0].partition(":")[0]]
            if mistake.edits and wanted(mistake)
        ],
    )


def caught_by(*checks, folders=FOLDERS):
    return cases(folders, lambda mistake: mistake.caught_by in checks)


def unchanged():
    """Return (folder, edits) for lessons as they are, and for all edits that change no result."""
    return pytest.mark.parametrize(
        ("folder", "edits"),
        [
            pytest.param(*folder.values, edits, id=f"{name}-{folder.values[0]}", marks=folder.marks)
            for folder in each(FOLDERS)
            for name, edits in ({"unchanged": ()} | mistakes.read_same(ROOT / folder.values[0])).items()
        ],
    )


# The lists
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_says_of_every_known_mistake_how_it_is_made_or_why_it_cannot_be(folder):
    own = {mistake.name for mistake in MISTAKES[folder] if mistake.own}
    assert [mistake.name for mistake in MISTAKES[folder] if not mistake.own] == mistakes.names()
    assert sum(bool(mistake.edits) for mistake in MISTAKES[folder]) >= 20 + len(own)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[no-scale]", "needs either edits or impossible"),
        ("[no-scale]\nedits = []", "a list of pairs"),
        ('[no-scale]\nedits = ["a", "b"]', "a list of pairs"),
        ('[no-scale]\nedits = [["a"]]', "a list of pairs"),
        ('[no-scale]\nedits = [["a", "b"]]\nimpossible = "c"', "needs either edits or impossible"),
        ('[no-scale]\nimpossible = ""', "say why"),
        ('[no-scale]\nedits = [["a", "b"]]\nsays = "c"', "says, which has no place"),
        ('[no-scale]\nedits = [["a", "b"]]\nunnoticed = "c"', "unnoticed, which has no place"),
        ('[new]\nedits = [["a", "b"]]', "needs says, unnoticed and caught_by"),
        ('[new]\nedits = [["a", "b"]]\nunnoticed = "d"\ncaught_by = "point"', "needs says, unnoticed and caught_by"),
        ('[new]\nedits = [["a", "b"]]\nsays = "c"\ncaught_by = "point"', "needs says, unnoticed and caught_by"),
        ('[new]\nedits = [["a", "b"]]\nsays = "c"\nunnoticed = " "\ncaught_by = "point"', "needs says, unnoticed and"),
        ('[new]\nedits = [["a", "b"]]\nsays = "c"\nunnoticed = "d"\ncaught_by = "nobody"', "needs says, unnoticed and"),
        ("no-scale = 1", "is to be a table"),
        ("[same]\nx = 1", "is to be a table"),
        ("same = 1", "is to be a table"),
        ("[no-scale", "mistakes.toml: "),
        (None, "is missing"),
    ],
)
def test_what_is_wrong_in_a_list_is_said_in_one_line(tmp_path, text, says):
    if text is not None:
        (tmp_path / "mistakes.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says) as raised:
        mistakes.read(tmp_path)
        mistakes.read_same(tmp_path)
    assert "mistakes.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_edit_whose_text_has_gone_is_an_error():
    with pytest.raises(UserError, match="0 times"):
        load(REFERENCE, (("this text is not there", ""),))


# What must pass
@unchanged()
def test_what_changes_nothing_passes(folder, edits):
    lesson = load(folder, edits)
    judge(compare_point(lesson))
    judge(compare_adam_step(lesson))
    compare_samples(lesson)


@pytest.mark.parametrize("folder", each(FOLDERS))
def test_an_unchanged_lesson_alone_prints_what_the_reference_computes(folder):
    compare_main(load(folder, short_main(folder)))


# What must not
@pytest.fixture
def compiled_fast(request):
    """Have a framework that compiles look for no fast program: that takes longest, and a mutant runs a step or two."""
    own = subjects.own_checks(ROOT / request.node.callspec.params["folder"].partition(":")[0])
    with getattr(own, "compiling_fast", contextlib.nullcontext)():
        yield


@pytest.mark.usefixtures("compiled_fast")
@caught_by("point")
def test_the_point_catches(folder, edits):
    lesson = load(folder, edits)
    with pytest.raises(Different):
        judge(compare_point(lesson))


@pytest.mark.usefixtures("compiled_fast")
@caught_by("step", "steps")
def test_the_adam_step_catches(folder, edits):
    lesson = load(folder, edits)
    with pytest.raises(Different):
        judge(compare_adam_step(lesson))


@caught_by("samples")
def test_the_samples_catch(folder, edits):
    lesson = load(folder, edits)
    with pytest.raises(Different):
        compare_samples(lesson)


@pytest.mark.usefixtures("compiled_fast")
@caught_by("main")
def test_what_a_lesson_alone_prints_catches(folder, edits):
    lesson = load(folder, (*edits, *short_main(folder)))
    with pytest.raises(Different):
        compare_main(lesson)


@pytest.mark.usefixtures("compiled_fast")
@cases(FLOAT32_FOLDERS, lambda mistake: mistake.caught_by in ("point", "step") and not mistake.own)
def test_one_step_in_float32_catches_by_far(folder, edits, record, request):
    """By so many times the bound that no processor's rounding can hide a mistake or make one."""
    comparison = compare_one_step(load(folder, edits), "clipped", nth_point=4)
    times = max(math.inf if math.isnan(difference) else difference / bound for difference, bound in comparison.values())
    record("bound of one step / what a mistake moves", request.node.callspec.id, 1 / times, 1 / BY_FAR)


# Where gradients are written by hand, one can be wrong and the loss right, and a wrong model can have right gradients.
@caught_by("gradients", folders=HAND_WRITTEN)
def test_the_point_and_finite_differences_catch_a_wrong_gradient(folder, edits):
    lesson = load(folder, edits)
    with pytest.raises(Different):
        judge(compare_point(lesson))
    with pytest.raises(Different):
        judge(compare_finite_differences(lesson, entries=10))


@cases(HAND_WRITTEN, lambda mistake: mistake.own and mistake.caught_by == "point")
def test_finite_differences_agree_with_a_wrong_model_whose_gradients_match(folder, edits):
    judge(compare_finite_differences(load(folder, edits), entries=10))
