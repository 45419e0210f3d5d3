"""The pictures: made where they should be, not blank, told apart in a print without colours, and true."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from microgpt_harness.run import agreement, plots
from microgpt_harness.run.metrics import Curve
from microgpt_harness.system import paths
from microgpt_harness.tools import scaling_plots
from microgpt_harness.tools.scaling_plots import Point
from PIL import Image
from program import NUMPY, PYTHON, fails, run
from records import falling, write_run

SIZE = (960, 540)
FOLDERS_SIZE = (960, 792)
FOLDERS = paths.folders()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Return the --out folder of runs of two folders, and of two datasets in one of them."""
    out = tmp_path_factory.mktemp("runs")
    options = ("--out", out, "--steps", 120, "--val-every", 20, "--n-samples", 1)
    own = out.parent / "letters.txt"
    own.write_text("abc\nbca\ncabbage\n" * 30, encoding="utf-8")
    run(PYTHON, *options, "--n-embd", 8)
    result = run(NUMPY, *options, "--n-embd", 8, "--dataset", "names", own)
    assert result.stdout.count("=== ") == 2
    return out


def opened(path: Path, size: tuple[int, int] = SIZE) -> Image.Image:
    """Open a picture and check that it is one: whole, of a slide's size, with something on it and room around it."""
    with Image.open(path) as image:
        image.load()
    assert image.format is None or image.format == "PNG"
    assert image.size == size
    grey = image.convert("L")
    inked = sum(grey.histogram()[:200]) / (size[0] * size[1])
    assert 0.005 < inked < 0.3
    edges = [(0, 0, size[0], 3), (0, size[1] - 3, *size), (0, 0, 3, size[1]), (size[0] - 3, 0, *size)]
    assert {min(grey.crop(edge).tobytes()) for edge in edges} == {255}  # nothing runs over them
    return image


def test_each_run_has_its_picture(runs):
    for folder in ("names/" + PYTHON, "names/" + NUMPY, "letters/" + NUMPY):
        opened(runs / folder / "loss.png")
    assert not list(runs.rglob("*.tmp"))  # nor a temporary file


def test_folders_and_datasets_are_laid_over_one_another(runs):
    opened(runs / "names" / "losses.png", FOLDERS_SIZE)
    opened(runs / "all_losses.png")
    assert not (runs / "letters" / "losses.png").exists()  # one folder is no comparison


def test_no_plot(tmp_path):
    run(NUMPY, "--out", tmp_path, "--steps", 3, "--n-samples", 1, "--no-plot")
    assert not list(tmp_path.rglob("*.png"))


def curve(steps: int = 400) -> Curve:
    made = []
    for step in range(1, steps + 1):
        smooth = 2 + 1.3 * 0.99**step
        made.append({"step": step, "loss": smooth + 0.5 * (step * 7919 % 13 - 6) / 6, "ema": smooth})
        if step % 50 == 0:
            made[-1]["val_loss"] = smooth + 0.1
    return Curve(made)


def drawn_lines(axes) -> list:
    return [line for line in axes.get_lines() if len(line.get_xdata())]


def test_a_run_reads_without_colours():
    figure, axes = plots.new_figure("a run")
    plots.plot_run(axes, curve())
    figure.canvas.draw()
    raw, ema, validation = drawn_lines(axes)
    assert grey(raw.get_color()) - grey(ema.get_color()) > 0.4  # light behind dark
    assert ema.get_linewidth() > raw.get_linewidth()
    assert validation.get_marker() == "o" and validation.get_linestyle() == "--" and ema.get_linestyle() == "-"
    assert all((axes.get_xlabel(), axes.get_ylabel(), axes.get_title()))
    assert len(axes.get_legend().get_texts()) == 3


def test_datasets_read_without_colours(tmp_path):
    _, axes = plots.new_figure("eight")
    runs = [(f"dataset {i}", curve()) for i in range(8)]
    plots.plot_overlay(axes, [(name, course, plots.nth_look(i)) for i, (name, course) in enumerate(runs)])
    check_told_apart(drawn_lines(axes), 8)
    plots.draw_datasets(tmp_path / "eight.png", runs, "eight")
    opened(tmp_path / "eight.png")


def check_told_apart(lines: list, count: int) -> None:
    assert len({line.get_marker() for line in lines}) == len({line.get_color() for line in lines}) == count
    assert len({line.get_markevery() for line in lines}) == count  # no marker hides another where all agree


# ---- one colour a folder ----


def colours(figure) -> dict[str, str]:
    """Return the colour of every named line of a figure, wherever in it."""
    lines = [line for axes in figure.axes for line in axes.get_lines() if not line.get_label().startswith("_")]
    found = {(line.get_label(), line.get_color()) for line in lines}
    assert len({name for name, _ in found}) == len(found)  # the same above and below
    return dict(found)


def test_a_folder_keeps_its_colour_and_marker_whoever_else_is_there(tmp_path):
    for folder in FOLDERS:
        write_run(tmp_path / "all", folder)
    everybody = colours(plots.folders_figure(agreement.read(tmp_path / "all")))
    assert len(set(everybody.values())) == min(len(FOLDERS), len(plots.COLOURS))
    for missing in FOLDERS:
        for folder in FOLDERS:
            if folder != missing:
                write_run(tmp_path / missing, folder)
        some = colours(plots.folders_figure(agreement.read(tmp_path / missing)))
        assert some == {folder: colour for folder, colour in everybody.items() if folder != missing}


def test_a_folder_has_the_same_colour_in_the_pictures_of_speed():
    looks = scaling_plots.looks_of(speeds())
    for folder in FOLDERS:
        mine = [look for series, look in looks.items() if series.startswith(folder)]
        assert {(look["color"], look["marker"]) for look in mine} == {tuple(plots.look(folder).values())}
    hollow, line = ({look[part] for look in looks.values()} for part in ("markerfacecolor", "linestyle"))
    assert "white" in hollow and len(line) == 2  # 02's other backend


def test_a_seventh_folder_and_names_without_a_number():
    looks = [plots.look(f"{number:02d}_any") for number in range(1, 8)]
    assert all(len({look[part] for look in looks}) == 7 for part in ("color", "marker"))
    for name in ("mine", "", "_", "名前", "\udcff", "9" * 5000):
        assert plots.look(name) == plots.look(name) and plots.look(name)["color"] in plots.COLOURS


# ---- how far apart the folders are ----


def lower(out: Path):
    """Return the lower of the two axes of losses.png, drawn."""
    figure = plots.folders_figure(agreement.read(out))
    figure.savefig(os.devnull, format="png")
    return figure.axes[1]


def test_differences_stand_on_a_logarithmic_axis(tmp_path):
    write_run(tmp_path, NUMPY)
    write_run(tmp_path, PYTHON, falling(by=1e-12))
    write_run(tmp_path, "05_jax", falling(by=1e-6), "float32")
    axes = lower(tmp_path)
    assert axes.get_yscale() == "log" and axes.get_ylabel() == "|loss − loss of 02|"
    named = {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}
    assert set(named) == {PYTHON, "05_jax"}  # the reference is nowhere apart from itself
    for name, by in ((PYTHON, 1e-12), ("05_jax", 1e-6)):
        heights = named[name].get_ydata()
        assert list(named[name].get_xdata()) == list(range(1, 121)) and heights[1:] == pytest.approx(
            [by] * 119, rel=1e-3
        )
    bottom, top = axes.get_ylim()
    assert bottom < 1e-13 and top > 1e-4  # the bounds are in sight too


def test_no_difference_at_all_stands_at_0(tmp_path):
    write_run(tmp_path, NUMPY)
    write_run(tmp_path, PYTHON, falling(by=1e-12))
    axes = lower(tmp_path)
    ticks = dict(zip(axes.get_yticks(), (text.get_text() for text in axes.get_yticklabels())))
    line = next(line for line in axes.get_lines() if line.get_label() == PYTHON)
    assert ticks[line.get_ydata()[0]] == "0" and axes.get_ylim()[0] < line.get_ydata()[0] < 1e-12
    write_run(tmp_path, "03_pytorch")
    write_run(tmp_path / "same", NUMPY)
    write_run(tmp_path / "same", PYTHON)
    assert "0" in [text.get_text() for text in lower(tmp_path / "same").get_yticklabels()]


def test_the_judged_steps_and_their_bounds_are_shown(tmp_path):
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    write_run(tmp_path, NUMPY)
    write_run(tmp_path, PYTHON, falling(by=1e-12))
    write_run(tmp_path, "05_jax", falling(by=1e-6), "float32")
    axes = lower(tmp_path)
    shaded = next(patch for patch in axes.patches if isinstance(patch, Rectangle))
    assert (shaded.get_x(), shaded.get_x() + shaded.get_width()) == (1, agreement.JUDGED_STEPS)
    bounds = [each.get_segments()[0] for each in axes.collections if isinstance(each, LineCollection)]
    assert sorted(segment[0][1] for segment in bounds) == [agreement.FLOAT64_BOUND, agreement.FLOAT32_BOUND]
    assert all([point[0] for point in segment] == [1, agreement.JUDGED_STEPS] for segment in bounds)
    assert {text.get_text() for text in axes.texts} == {"bound for float64: 1e-09", "bound for float32: 1e-04"}


def test_what_cannot_be_compared_is_left_out_and_named(tmp_path):
    write_run(tmp_path, NUMPY)
    write_run(tmp_path, "04_pytorch_batched", falling(by=0.5), "float32", batch_size=32)
    axes = lower(tmp_path)
    assert not axes.get_lines() and "same settings" in axes.get_title("left")
    write_run(tmp_path, PYTHON, falling(by=1e-12))
    axes = lower(tmp_path)
    assert PYTHON in [line.get_label() for line in axes.get_lines()]
    assert "04_pytorch_batched" in axes.get_xlabel()
    assert "04_pytorch_batched" not in [line.get_label() for line in axes.get_lines()]


def test_steps_that_are_too_late_to_be_judged(tmp_path):
    write_run(tmp_path, NUMPY, falling(200))
    write_run(tmp_path, "05_jax", falling(50, by=0.1), first=151, num_steps=200)
    axes = lower(tmp_path)
    assert not axes.patches and not axes.collections and "Not judged" in axes.get_title("left")


@pytest.mark.parametrize("loss", [1e300, -1e300, 5e-324, 0.0])
def test_losses_that_no_run_has(tmp_path, loss):
    write_run(tmp_path, NUMPY)
    write_run(tmp_path, "05_jax", [loss] * 60)
    write_run(tmp_path, "_$x^$ " + "n" * 60, falling())
    assert plots.draw_folders(agreement.read(tmp_path)) == tmp_path / "losses.png"
    opened(tmp_path / "losses.png", FOLDERS_SIZE)


# ---- the pictures of speed ----


def speeds() -> list[Point]:
    series = [(folder, folder) for folder in FOLDERS if folder != NUMPY]
    series[1:1] = [(NUMPY, f"{NUMPY} (numpy)"), (NUMPY, f"{NUMPY} (numba)")]
    return [
        Point(folder, name, n_embd, batch_size, num_params=12 * n_embd**2, ms=0.01 * 3**i * n_embd * batch_size**0.5)
        for i, (folder, name) in enumerate(series)
        for n_embd in (16, 64, 256)
        for batch_size in (1, 32)
    ]


@pytest.fixture
def figures(monkeypatch) -> list:
    """Return the figures that are saved from now on."""
    kept, save = [], plots.save
    monkeypatch.setattr(plots, "save", lambda figure, path: (kept.append(figure), save(figure, path)))
    return kept


def test_model_sizes(tmp_path, figures):
    opened_any(scaling_plots.draw_model_sizes(tmp_path / "sizes.png", speeds()))
    (axes,) = figures[0].axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert len(lines) == len(FOLDERS) + 2 and all(  # 02's other backend, and a line for comparison
        len(line.get_xdata()) == 3 for name, line in lines.items() if "proportion" not in name
    )
    assert len(axes.get_legend().get_texts()) == len(lines)


def test_batch_sizes_are_not_joined_by_what_was_not_measured(tmp_path, figures):
    """Two sizes make no curve: each series has a row, where a line goes from one measurement to the other."""
    opened_any(scaling_plots.draw_batch_sizes(tmp_path / "batches.png", speeds()))
    panels = figures[0].axes
    assert len(panels) == 2 and {axes.get_xscale() for axes in panels} == {"log"}
    assert [text.get_text() for text in panels[0].get_yticklabels()][:2] == [
        "01 pure python",
        "02 numpy manual backprop (numpy)",
    ]
    for axes in panels:
        for line in axes.get_lines():
            assert len(set(line.get_ydata())) == 1  # along its row, where nothing is read off between its ends
        strokes = [line for line in axes.get_lines() if line.get_marker() == "|"]
        first = [line for line in axes.get_lines() if line.get_markersize() == 6 and line.get_marker() in plots.MARKERS]
        assert len(strokes) == len(first) == len(FOLDERS) + 1  # 02's other backend
        assert strokes[0].get_xdata()[0] == pytest.approx(32 * first[0].get_xdata()[0])
        assert {text.get_text() for text in axes.texts} == {"5.66×"}  # of 32 documents, √32


def test_speeds_of_which_some_are_missing(tmp_path):
    fewer = [p for p in speeds() if not (p.folder == "01_pure_python" and p.batch_size == 32)]
    opened_any(scaling_plots.draw_batch_sizes(tmp_path / "a.png", fewer))
    opened_any(scaling_plots.draw_batch_sizes(tmp_path / "b.png", [p for p in speeds() if p.batch_size == 1]))
    opened_any(scaling_plots.draw_batch_sizes(tmp_path / "c.png", speeds()[:1]))
    opened_any(scaling_plots.draw_model_sizes(tmp_path / "d.png", speeds()[:1]))


def opened_any(path: Path) -> None:
    with Image.open(path) as image:
        size = image.size
    opened(path, size)


def grey(color) -> float:
    """How light a colour is in a print without colours (ITU-R BT.601)."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return round(0.299 * red + 0.587 * green + 0.114 * blue, 3)


def test_a_title_in_a_script_that_the_font_lacks(tmp_path, recwarn):
    plots.draw_loss(tmp_path / "loss.png", curve(), "名前, 02_numpy_manual_backprop")
    opened(tmp_path / "loss.png")
    assert [str(warning.message) for warning in recwarn] == []


def test_curves_far_apart_in_length_and_short_ones(tmp_path):
    plots.draw_datasets(tmp_path / "a.png", [("long", curve(5000)), ("short", curve(3))], "lengths")
    plots.draw_loss(tmp_path / "b.png", curve(1), "one step")
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size == SIZE


# ---- the window ----

NO_DISPLAY = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}


@pytest.mark.skipif(os.name != "posix" or not Path("/proc").exists(), reason="only Linux says so by its environment")
def test_live_plot_without_a_display(tmp_path):
    says = ("--live-plot", "no display", "loss.png")
    fails(NUMPY, "--live-plot", "--out", tmp_path, env=NO_DISPLAY, says=says)
    assert list(tmp_path.iterdir()) == []


def test_live_plot_without_a_window_system(tmp_path):
    env = {"DISPLAY": ":0", "MPLBACKEND": "agg"}
    fails(NUMPY, "--live-plot", "--out", tmp_path, env=env, says=("--live-plot", "window"))


@pytest.mark.skipif(not shutil.which("Xvfb"), reason="needs a virtual display (Xvfb)")
@pytest.mark.skipif(not importlib.util.find_spec("tkinter"), reason="needs tkinter")
def test_live_plot_in_a_window(tmp_path):
    ours, theirs = os.pipe()
    arguments = ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "1200x800x24"]
    display = subprocess.Popen(arguments, pass_fds=[theirs], stderr=subprocess.DEVNULL)
    os.close(theirs)
    try:
        with os.fdopen(ours) as pipe:
            number = pipe.readline().strip()
        options = ("--out", tmp_path, "--steps", 300, "--n-samples", 2, "--live-plot")
        result = run(NUMPY, *options, env={"DISPLAY": f":{number}"})
    finally:
        display.kill()
        display.wait()
    assert len(result.samples) == 2
    opened(tmp_path / "names" / NUMPY / "loss.png")
