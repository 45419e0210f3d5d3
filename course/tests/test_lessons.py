"""The lessons as data: no line is lost or repeated, and what belongs side by side stands in one row."""

import shutil
from pathlib import Path

import pytest
from microgpt_course import lessons
from microgpt_harness.system.errors import UserError


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout's lessons, to change."""
    for lesson in lessons.read_all():
        (tmp_path / lesson.folder).mkdir()
        shutil.copy(lesson.path, tmp_path / lesson.folder)
    return tmp_path


def change(root: Path, number: str, old: str, new: str) -> None:
    (path,) = root.glob(f"{number}_*/microgpt.py")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def rows_of(root: Path) -> dict[str, lessons.Row]:
    return {row.anchor: row for row in lessons.align(lessons.read_all(root))}


def holds_every_line_once(found: list[lessons.Lesson]) -> None:
    rows = lessons.align(found)
    for lesson in found:
        cells = [row.cells[lesson.folder] for row in rows if lesson.folder in row.cells]
        assert sorted(cells, key=lambda cell: cell.first) == list(lesson.cells)
        assert "\n".join(cell.text for cell in lesson.cells) + "\n" == lesson.source
        assert [cell.first for cell in lesson.cells[1:]] == [cell.last + 1 for cell in lesson.cells[:-1]]


def test_every_line_of_every_lesson_is_in_one_row():
    found = lessons.read_all()
    assert len(found) > 1
    holds_every_line_once(found)


@pytest.mark.parametrize(
    "source",
    [
        "import math\n# %% Data\nimport json\nx = 1\n\n\nimport csv\n\n\ndef f():\n    pass\n\n\nimport abc\n",
        "# %% Data\ndef f():\n    pass\n\n\ndef f():\n    return 1\n",
        "# %% Data\nx = 1\n\n\ndef f():\n    pass\n\n\nx = 2\n",
        "# %% Model\nclass MLP:\n    pass\n\n\ndef mlp():\n    pass\n",
        "# %% Data\nx = 1\n# %% Model\ny = 1\n# %% Data\nz = 1\n",
        "# %% Data\n# about the data\n\n# about f\n@g\n# more\ndef f():\n    pass\n\n# at the end\n",
        '# %% Data\nx = """a\x0cb\u2028c"""\n\n\ndef f():\n    pass\n',
        "x = 1\n",
        "\n",
    ],
)
def test_no_line_is_lost_in_a_file_of_another_kind(copy, source):
    (copy / "07_other").mkdir()
    (copy / "07_other" / "microgpt.py").write_text(source, encoding="utf-8")
    holds_every_line_once(lessons.read_all(copy))


def test_what_a_file_has_twice_stands_in_two_rows(copy):
    change(copy, "05", "def softmax(", "def softmax(x):\n    return x\n\n\ndef softmax(")
    rows = rows_of(copy)
    assert rows["model-softmax"].cells["05_jax"].text.startswith("def softmax(x)")
    assert rows["model-softmax-2"].cells["05_jax"].text.startswith("def softmax(logits)")
    assert len(rows["model-softmax-2"].cells) == 1


def test_comments_above_a_function_belong_to_it(copy):
    source = "# %% Data\n# about the data\n\n# about f\n@g\ndef f():\n    pass\n"
    (copy / "03_pytorch" / "microgpt.py").write_text(source, encoding="utf-8")
    cells = lessons.read(copy / "03_pytorch").cells
    assert [cell.text for cell in cells] == ["# %% Data\n# about the data\n", "# about f\n@g\ndef f():\n    pass"]


def test_an_unknown_section_is_named_with_file_and_line(copy):
    change(copy, "03", "# %% Loss", "# %% Losses")
    (path,) = copy.glob("03_*/microgpt.py")
    line = path.read_text(encoding="utf-8").split("\n").index("# %% Losses") + 1
    with pytest.raises(UserError) as error:
        lessons.read_all(copy)
    assert f"{path}, line {line}: the section 'Losses' is unknown" in str(error.value)
    assert "Loss, Gradients" in str(error.value)


def test_a_file_that_is_no_python_is_named_with_its_line(copy):
    change(copy, "03", "# %% Loss", "# %% Loss\ndef (")
    with pytest.raises(UserError, match=r"03_pytorch/microgpt\.py, line \d+: this is no Python"):
        lessons.read_all(copy)


def test_a_file_that_is_not_utf_8_is_named(copy):
    (copy / "03_pytorch" / "microgpt.py").write_bytes(b"# \xff\n")
    with pytest.raises(UserError, match=r"03_pytorch/microgpt\.py: byte 2 is not UTF-8"):
        lessons.read_all(copy)


def test_two_folders_with_the_same_number_are_refused(copy):
    shutil.copytree(copy / "05_jax", copy / "05_other")
    with pytest.raises(UserError, match="05_other: 05_jax has the number 05 too"):
        lessons.read_all(copy)


def test_a_function_stands_beside_its_like_whatever_its_kind():
    rows = rows_of(lessons.ROOT)
    for key in ("linear", "attention", "mlp", "block", "gpt"):
        assert len(rows[f"model-{key}"].cells) == len(lessons.read_all())
    kinds = {cell.kind for cell in rows["model-attention"].cells.values()}
    assert kinds == {"function", "class"}


def test_a_renamed_function_moves_with_its_neighbours(copy):
    before = [row.anchor for row in lessons.align(lessons.read_all(copy))]
    change(copy, "05", "softmax(", "to_probabilities(")
    after = [row.anchor for row in lessons.align(lessons.read_all(copy))]
    assert [anchor for anchor in after if anchor not in before] == ["model-to-probabilities"]
    own = [row.anchor for row in rows_of(copy).values() if row.section == "Model" and "05_jax" in row.cells]
    at = own.index("model-to-probabilities")
    assert own[at - 1 : at + 2] == ["model-linear", "model-to-probabilities", "model-rmsnorm"]
    assert set(rows_of(copy)["model-to-probabilities"].cells) == {"05_jax"}


def test_rows_follow_the_order_of_every_lesson():
    rows = lessons.align(lessons.read_all())
    for lesson in lessons.read_all():
        firsts = [row.cells[lesson.folder].first for row in rows if lesson.folder in row.cells]
        assert firsts == sorted(firsts), lesson.folder


def test_a_seventh_folder_is_aligned_without_an_edit(copy):
    shutil.copytree(copy / "05_jax", copy / "07_other")
    rows = rows_of(copy)
    for row in rows.values():
        assert ("07_other" in row.cells) == ("05_jax" in row.cells)
    assert rows.keys() == rows_of(lessons.ROOT).keys()


def test_identical_is_computed(copy):
    rows = rows_of(copy)
    same = [anchor for anchor, row in rows.items() if row.identical]
    assert "data-load-docs" in same and "parameters-init-params" in same and "model-attention" not in same
    change(copy, "04", "rng.shuffle(docs)", "rng.shuffle( docs)")
    assert [anchor for anchor, row in rows_of(copy).items() if row.identical] == [
        a for a in same if a != "data-load-docs"
    ]


def test_a_function_that_one_folder_lacks_is_not_identical(copy):
    text = "def load_docs("
    change(copy, "04", text, "def load_documents(")
    assert not rows_of(copy)["data-load-docs"].identical


def test_sections_stand_in_their_order():
    rows = lessons.align(lessons.read_all())
    assert list(dict.fromkeys(row.section for row in rows)) == [lessons.HEAD, *lessons.SECTIONS]
    assert len({row.anchor for row in rows}) == len(rows)
