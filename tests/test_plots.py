"""The pictures: made where they should be, not blank, and told apart in a print without colours."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from microgpt_harness import plots
from microgpt_harness.metrics import Curve
from PIL import Image
from program import NUMPY, PYTHON, fails, run

SIZE = (960, 540)


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


def opened(path: Path) -> Image.Image:
    """Open a picture and check that it is one: whole, of a slide's size, with something on it and room around it."""
    with Image.open(path) as image:
        image.load()
    assert image.format is None or image.format == "PNG"
    assert image.size == SIZE
    grey = image.convert("L")
    inked = sum(grey.histogram()[:200]) / (SIZE[0] * SIZE[1])
    assert 0.005 < inked < 0.3
    assert min(grey.crop((0, 0, SIZE[0], 3)).tobytes()) == 255  # nothing runs over the edge
    return image


def test_each_run_has_its_picture(runs):
    for folder in ("names/" + PYTHON, "names/" + NUMPY, "letters/" + NUMPY):
        opened(runs / folder / "loss.png")
    assert not list(runs.rglob(".*"))  # nor a temporary file


def test_folders_and_datasets_are_laid_over_one_another(runs):
    opened(runs / "names" / "losses.png")
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


def test_six_folders_read_without_colours(tmp_path):
    _, axes = plots.new_figure("six")
    plots.plot_overlay(axes, [(f"0{i}_folder", curve()) for i in range(1, 7)])
    lines = drawn_lines(axes)
    assert len({line.get_marker() for line in lines}) == len({line.get_color() for line in lines}) == 6
    assert len({line.get_markevery() for line in lines}) == 6  # no marker hides another where all agree
    plots.draw_overlay(tmp_path / "six.png", [(f"0{i}_folder", curve()) for i in range(1, 7)], "six")
    opened(tmp_path / "six.png")


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
    plots.draw_overlay(tmp_path / "a.png", [("long", curve(5000)), ("short", curve(3))], "lengths")
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
