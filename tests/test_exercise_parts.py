"""The parts that exercises are made of: holes in a text, numbers of any framework, the first difference, the lists."""

import math

import numpy as np
import pytest
from lessons import FOLDERS, ROOT, offered
from microgpt_harness.system.errors import UserError
from microgpt_harness.tools.exercises import attempts, catalogue, diagnosis, points, source, subjects
from microgpt_harness.tools.exercises.source import Hole
from microgpt_harness.tools.exercises.tensors import TOLERANCE, compare, distance, from_json, tensor, to_json
from microgpt_harness.tools.exercises.tracing import Call, locate

TEXT = '''\
LIMIT = 3


class Box:
    """Holds things."""

    def put(self, thing, *, twice=False):
        """Put a thing in."""
        # why
        kept = [
            thing,
        ]  # (N)
        if twice:
            kept += kept
        return kept


def empty(
    box,
    other=None,
):
    return box, other
'''


# Holes
@pytest.mark.parametrize(
    ("hole", "taken"),
    [
        (Hole("Box.put"), (9, 15)),
        (Hole("Box.put", first="kept = ["), (10, 12)),
        (Hole("Box.put", first="kept = [", last="if twice"), (10, 14)),
        (Hole("Box.put", first="kept += kept"), (14, 14)),
        (Hole("empty"), (22, 22)),
        (Hole(first="LIMIT"), (1, 1)),
    ],
)
def test_a_hole_takes_out_whole_statements(hole, taken):
    place = source.find(TEXT, hole)
    assert (place.start + 1, place.stop) == taken
    handed_out = source.cut(TEXT, (hole,), ["Your turn."], catalogue.MARK)
    compile(handed_out, "handed out", "exec")
    assert source.line_of_mark(handed_out, catalogue.MARK)
    body = "\n".join(line.strip() for line in TEXT.splitlines()[place.start : place.stop][:1])
    assert body not in [line.strip() for line in handed_out.splitlines()]


def test_what_is_filled_in_again_is_the_text_as_it_was():
    holes = (Hole("empty"), Hole("Box.put", first="if twice"))
    filled = source.fill(TEXT, holes, ["return box, other", "if twice:\n    kept += kept"])
    assert filled == TEXT


def test_shapes_stay_and_bodies_go():
    handed_out = source.cut(TEXT, (Hole("Box.put"),), [], catalogue.MARK)
    assert (
        '"""Put a thing in."""' in handed_out and "thing," not in handed_out.partition('"""Put')[2].partition("def")[0]
    )
    assert "# q, k, v will be (H, T, D)" in source.cut(
        "def f():\n    q, k, v = g()  # (H, T, D)\n    return q\n", (Hole("f"),), [], catalogue.MARK
    )


@pytest.mark.parametrize(
    ("hole", "says"),
    [
        (Hole("Box.take"), "has no function Box.take"),
        (Hole("Box.put", first="thin"), "1 lines|begin with 'thin'"),
        (Hole("Box.put", first="nothing"), "0 lines"),
        (Hole("Box.put", first="kept"), "2 lines"),
    ],
)
def test_a_hole_that_is_nowhere_or_in_two_places_is_an_error(hole, says):
    if hole.first == "thin":
        assert source.find(TEXT, hole).start == 10
        return
    with pytest.raises(UserError, match=says):
        source.find(TEXT, hole)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("box,\n    other=None", "box", "other parameters"),
        ("thing, *", "thing, more, *", "other parameters"),
        ("box,\n", "boxes,\n", "other parameters"),
        ("def empty(", "def emptied(", "empty is not there any more"),
        ("class Box", "class Bag", "Box is not there any more"),
        ("other=None", "other=None, third=3", None),
        ("return box", "return None, box", None),
    ],
)
def test_a_changed_signature_is_seen_and_more_options_are_fine(old, new, says):
    found = source.changed_signature(TEXT, TEXT.replace(old, new))
    assert (found is None) if says is None else says in found


# Numbers
def test_numbers_of_arrays_and_lists_become_the_same_tensor():
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    ours, theirs = tensor(rows), tensor(np.array(rows))
    assert ours.shape == theirs.shape == (3, 2)
    assert ours.numbers == theirs.numbers == (1, 2, 3, 4, 5, 6)
    assert (ours.dtype, theirs.dtype, tensor(np.float32(1)).shape) == ("", "float64", ())


@pytest.mark.parametrize("value", [[[1.0], [2.0, 3.0]], "text", [1.0, "x"], None, object(), [{}]])
def test_what_is_no_tensor_is_a_type_error(value):
    with pytest.raises(TypeError):
        tensor(value)


def test_the_largest_difference_is_found_with_its_place():
    wanted = tensor(np.arange(24.0).reshape(2, 3, 4))
    got = tensor(np.arange(24.0).reshape(2, 3, 4) + np.where(np.arange(24).reshape(2, 3, 4) == 17, 0.5, 1e-3))
    difference = compare(got, wanted)
    assert (difference.index, difference.got, difference.wanted) == ((1, 1, 1), 17.5, 17.0)
    assert difference.by == pytest.approx(0.5 / 23)


@pytest.mark.parametrize(
    ("got", "wanted", "by"),
    [
        ([1.0, 1.0], [1.0, 1.0 + TOLERANCE / 2], None),
        ([1.0, 1.0], [1.0, 1.0 + TOLERANCE * 3], 3e-9),
        ([math.nan], [math.nan], None),
        ([math.nan, 1.0], [1.0, 1.0], math.inf),
        ([-math.inf, 1.0], [-math.inf, 1.0], None),
        ([math.inf, 1.0], [-math.inf, 1.0], math.inf),
        ([1.0], [1.0, 1.0], math.inf),
        ([0.0], [0.0], None),
        ([1e-12], [0.0], None),
    ],
)
def test_what_counts_as_a_difference(got, wanted, by):
    difference = compare(tensor(got), tensor(wanted))
    assert difference is None if by is None else difference.by == pytest.approx(by, rel=1e-3)


def test_another_dtype_and_a_missing_figure_are_differences():
    one = tensor(np.ones(2))
    assert compare(tensor(np.ones(2, np.float32)), one).got == "float32"
    assert distance({"a": one}, {"a": one, "b": one}) == math.inf
    assert distance({"a": one, "b": "x"}, {"a": one, "b": "y"}) == math.inf
    assert distance({"a": one}, {"a": one}) == 0


def test_figures_survive_json_to_the_last_bit():
    figures = {"a": tensor(np.array([[0.1, math.inf], [-math.inf, 1e-310]])), "b": "text"}
    assert from_json(to_json(figures)) == figures


# The first difference
def call(function, nth=1, arguments=0.0, **held):
    return Call(function, nth, {"x": tensor(arguments)}, {name: tensor(value) for name, value in held.items()})


def test_a_function_with_the_right_arguments_comes_before_one_that_was_given_wrong_ones():
    right = [call("linear", arguments=1.0, result=1.0), call("attention", q=2.0, k=3.0), call("block", result=4.0)]
    wrong = [call("linear", arguments=9.0, result=5.0), call("attention", q=8.0, k=9.0), call("block", result=7.0)]
    found = locate(wrong, right)
    assert (found.function, found.name) == ("attention", "q")


def test_where_all_arguments_differ_the_first_difference_is_named():
    right = [call("linear", arguments=1.0, result=1.0), call("linear", nth=2, arguments=1.0, result=1.0)]
    wrong = [call("linear", arguments=9.0, result=5.0), call("linear", nth=2, arguments=9.0, result=6.0)]
    assert locate(wrong, right).nth == 1


def test_what_only_one_of_two_has_is_not_compared():
    assert locate([call("mine", result=1.0)], [call("theirs", result=2.0)]) is None
    assert locate([call("f", scores=1.0, result=1.0)], [call("f", weights=3.0, result=1.0)]) is None


# The point
@pytest.mark.parametrize("seed", range(20))
def test_clipping_acts_and_no_two_axes_have_the_same_length(seed):
    lesson = subjects.load(
        ROOT / FOLDERS[1], subjects.lesson_text(ROOT / FOLDERS[1]), ROOT / FOLDERS[1] / "microgpt.py"
    )
    point, config = points.draw(lesson.module, seed), points.config_of(lesson.module)
    _, grads = lesson.engine.loss_and_grads(lesson.state(point, config), point.batch, config)
    assert math.sqrt(sum(np.square(rows).sum() for rows in grads.values())) > 2 * points.CLIP
    lengths = {config.n_embd, 4 * config.n_embd, config.n_head, config.n_embd // config.n_head, config.block_size}
    assert len(lengths | {point.vocab_size, len(point.batch), config.n_layer}) == 8
    assert config.n_embd // config.n_head not in (1, 4)
    assert len({len(doc) for doc in point.batch}) == len(point.batch)
    assert max(len(doc) for doc in point.batch) == config.block_size + 1


# The lists
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rmsnorm = 3", "rmsnorm is to be a table"),
        ("[rmsnorm]", "holes is to be a list"),
        ("[rmsnorm]\nholes = []", "holes is to be a list"),
        ('[rmsnorm]\nholes = ["rmsnorm"]', "holes is to be a list"),
        ('[rmsnorm]\nholes = [{ name = "rmsnorm" }]', "holes is to be a list"),
        ('[rmsnorm]\nholes = [{ function = "rmsnrom" }]', "has no function rmsnrom"),
        ('[rmsnorm]\nholes = [{ function = "rmsnorm", first = "zzz" }]', "0 lines"),
        ('[rmsnorm]\nholes = [{ function = "rmsnorm" }]\nnotes = "x"', "notes is to be a list"),
        ('[rmsnorm]\nholes = [{ function = "rmsnorm" }]\nhint = ["x"]', "hint, which has no place"),
        ('[own]\nholes = [{ function = "rmsnorm" }]', "needs task and hints"),
        ('[own]\ntask = "Do it."\nholes = [{ function = "rmsnorm" }]', "needs task and hints"),
        ("[own", "exercises.toml: "),
        (None, "is missing"),
    ],
)
def test_what_is_wrong_in_a_folder_s_list_is_said_in_one_line(tmp_path, text, says):
    folder = tmp_path / "07_folder"
    folder.mkdir()
    (folder / "microgpt.py").write_text("def rmsnorm(x):\n    return x\n", encoding="utf-8")
    if text is not None:
        (folder / "exercises.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says) as raised:
        catalogue.fill_in(folder)
    assert "exercises.toml" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_has_enough_exercises_of_each_kind_and_each_has_hints(folder):
    exercises = catalogue.read(offered(folder)).values()
    kinds = [exercise.kind for exercise in exercises]
    assert kinds.count(catalogue.FILL_IN) >= 10 and kinds.count(catalogue.EXTEND) >= 8
    assert kinds.count(catalogue.FIND) >= 20
    assert all(len(exercise.hints) >= 2 for exercise in exercises if exercise.kind != catalogue.FIND)
    assert all(exercise.task.endswith(".") for exercise in exercises)


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_handed_out_is_python_and_says_how_to_check_it(folder, tmp_path):
    for exercise in catalogue.read(offered(folder)).values():
        text = catalogue.handed_out(ROOT / folder, exercise, tmp_path / "x.py")
        assert not source.why_unreadable(text), exercise.name
        assert max(map(len, text.splitlines())) <= 125, exercise.name
        if exercise.kind != catalogue.FIND:
            assert f"main.py exercise {exercise.name}" in text
            assert source.line_of_mark(text, catalogue.MARK)


def test_hints_that_somebody_damaged_begin_anew(tmp_path):
    kept = attempts.Attempts(offered(FOLDERS[0]), tmp_path)
    exercise = catalogue.read(offered(FOLDERS[0]))["rmsnorm"]
    for damaged in ("x", -3, 99, None):
        kept.note(exercise, hints=damaged)
        assert kept.next_hint(exercise, 3) == 0
    assert [kept.next_hint(exercise, 3) for _ in range(4)] == [1, 2, 3, 3]


def test_nearly_right_is_not_called_a_mistake():
    one = {"logits": {"a": tensor(np.ones(3))}}
    off = {"logits": {"a": tensor(np.ones(3) + 1e-7)}}
    assert diagnosis.nearly(off, lambda name: one[name])
    assert not diagnosis.nearly({"logits": {"a": tensor(np.ones(3) + 1e-3)}}, lambda name: one[name])
