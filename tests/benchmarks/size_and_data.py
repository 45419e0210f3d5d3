"""How does the loss fall with the size of the model and with the amount of text?

`uv run --directory tests python benchmarks/size_and_data.py [RESULTS.json]` trains models of four sizes on four amounts
of Shakespeare, each for the same number of steps, with 05. All are judged by the same held-out windows. It prints a
table and draws docs/size_and_data.png. A quarter of an hour on one core; what is finished is kept in RESULTS.json (in
runs/ if not named), so that it can be interrupted and called again.
"""

import dataclasses
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "05_jax"
SIZES = {16: 0.02, 32: 0.01, 64: 0.01, 128: 0.006}  # n_embd, and its learning rate
PARTS = (64, 16, 4, 1)  # of the text to train on, the first 64th, 16th, …
STEPS, VAL_EVERY = 500, 50
SHAPE = {"n_layer": 4, "n_head": 4, "block_size": 64, "batch_size": 12, "num_steps": STEPS}
LAST = 100  # steps whose mean is the training loss

sys.path.insert(0, str(ROOT / "harness"))
from microgpt_harness.data import datasets  # noqa: E402
from microgpt_harness.program.engines import load_text  # noqa: E402
from microgpt_harness.program.settings import resolve  # noqa: E402
from microgpt_harness.run import plots, training  # noqa: E402


def load_engine():
    folder = ROOT / FOLDER
    lesson = folder / "microgpt.py"
    return load_text(lesson, lesson.read_text(encoding="utf-8"), folder / "engine.py")


def train(engine, dataset, n_embd, part):
    """Return the weights, the characters trained on, the training loss, and the validation loss by step."""
    values = SHAPE | {"n_embd": n_embd, "learning_rate": SIZES[n_embd]}
    settings = resolve([values], engine.lesson.CONFIG, ("float32",))
    run = training.start(engine, settings, dataset, Path(), Path("checkpoint.safetensors"))
    n_train = len(run.data.tokens) - len(run.data.tokens) // 10
    text = n_train // part
    windows = [start for start in run.data.train if start + settings.config.block_size < text]
    run.data = dataclasses.replace(run.data, train=windows)
    held_out = run.data.validation_batch(len(run.data.held_out))
    losses, validation = [], {}
    while run.step < STEPS:
        losses += training.take_steps(run, VAL_EVERY)[0]
        run.step += VAL_EVERY
        validation[run.step] = training.validate(run, held_out)
    return {
        "weights": training.count_params(run.config, run.data.tokenizer.vocab_size),
        "characters": text,
        "training": sum(losses[-LAST:]) / LAST,
        "validation": validation,
    }


def measure(path):
    """Return the results by "n_embd/part", those in the file as they are."""
    results = json.loads(path.read_text()) if path.exists() else {}
    engine, dataset = load_engine(), datasets.load("shakespeare")
    for n_embd in SIZES:
        for part in PARTS:
            key = f"{n_embd}/{part}"
            if key not in results:
                results[key] = train(engine, dataset, n_embd, part)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(results, indent=1))
                print(key, results[key], file=sys.stderr, flush=True)
    return json.loads(json.dumps(results))  # keys are text, as they are in the file


def table(results):
    """Return a row for each size. A cell: validation loss after the last step (training loss; the best if earlier)."""
    characters = [results[f"{next(iter(SIZES))}/{part}"]["characters"] for part in PARTS]
    rows = ["| n_embd | weights | " + " | ".join(f"{n:,} characters" for n in characters) + " |"]
    rows.append("|---:|---:|" + "---:|" * len(PARTS))
    for n_embd in SIZES:
        mine = [results[f"{n_embd}/{part}"] for part in PARTS]
        rows.append(f"| {n_embd} | {mine[0]['weights']:,} | " + " | ".join(map(cell, mine)) + " |")
    return "\n".join(rows)


def cell(result):
    best = min(result["validation"], key=result["validation"].get)
    earlier = "" if int(best) == STEPS else f"; {result['validation'][best]:.2f} at step {best}"
    return f"{result['validation'][str(STEPS)]:.2f} ({result['training']:.2f}{earlier})"


def draw(results, path):
    """Draw the losses over the amount of text, a line for each size: held-out text left, what was trained on right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    losses = {
        "on text that was held out": lambda result: result["validation"][str(STEPS)],
        f"on text that was trained on (last {LAST} steps)": lambda result: result["training"],
    }
    for axes, (title, loss) in zip(panels, losses.items()):
        for i, n_embd in enumerate(SIZES):
            mine = [results[f"{n_embd}/{part}"] for part in PARTS]
            name = f"n_embd {n_embd}, {mine[0]['weights'] / 1000:,.0f} k weights"
            look = plots.nth_look(i + 1)
            axes.plot([r["characters"] for r in mine], list(map(loss, mine)), **look, linewidth=2, label=name)
        ticks = {r["characters"]: f"{r['characters'] / 1000:,.0f} k" for r in mine}
        axes.set(title=title, xscale="log", xlabel="characters to train on")
        axes.set_xticks(list(ticks), labels=list(ticks.values()))
        axes.minorticks_off()
        axes.grid(axis="y", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"loss after {STEPS:,} steps (nats per character)")
    panels[0].legend(frameon=False)
    plots.save(figure, path)


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "size_and_data.json"
    results = measure(path)
    print(table(results))
    draw(results, ROOT / "docs" / "size_and_data.png")


if __name__ == "__main__":
    main()
