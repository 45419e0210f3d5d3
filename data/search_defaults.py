"""Which learning rate and which clipping suit a dataset, at the number of steps that it has?

    uv run --directory tests python ../data/search_defaults.py alice pokemon
    uv run --directory tests python ../data/search_defaults.py --folder 05_jax shakespeare paul_graham
    uv run --directory tests python ../data/search_defaults.py --folder 04_pytorch_batched ../scenarios/alice.toml

Each name, or scenario, is trained by `main.py` at half of today's learning rate, at that, and at twice as much (or at
--rates), with and without clipping; while the best rate is at the edge, one more on that side is tried. What counts is
the loss on what is held out, all of it or 4,000 documents or windows of it, after the last step. The best few and
today's are then trained with further seeds. A seed decides what is held out of a list of names, so two settings are
compared seed by seed.

A run that is finished is not repeated: interrupt the script, call it again, and it goes on. After a change to a
dataset's model or steps, delete its folder in runs/search first. The table at the end is written in Markdown.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "harness"))

from microgpt_harness.data import registry  # noqa: E402
from microgpt_harness.program.settings import ConfigFile, dataset_values, lesson_defaults, read_config_file  # noqa: E402

FIRST_SEED = 42
VAL_DOCS = 4000
BACKENDS = {"02_numpy_manual_backprop": ("--backend", "numba")}  # the fast one


@dataclass(frozen=True)
class Search:
    """What is trained (a dataset's name or a scenario), with what, and where the runs are kept."""

    name: str
    folder: str
    out: Path

    def validation_loss(self, lr: float, clip: float, seed: int) -> float:
        """Train, unless that has been done, and return the last validation loss; infinity where training diverged."""
        out = self.out / Path(self.name).stem / f"lr {lr:g}, clip {clip:g}, seed {seed}"
        done = out / "val_loss.json"
        if not done.exists():
            loss = self.train(out, lr, clip, seed)
            done.write_text(json.dumps(loss))
            print(f"{self.name}: lr {lr:g}, clip {clip:g}, seed {seed}: {loss:.4f}", file=sys.stderr, flush=True)
        return json.loads(done.read_text())

    def train(self, out: Path, lr: float, clip: float, seed: int) -> float:
        what = ("--config", Path(self.name).resolve()) if self.name.endswith(".toml") else ("--dataset", self.name)
        flags = ("--lr", lr, "--clip-grad", clip, "--seed", seed, "--dtype", "float32", "--out", out)
        at_the_end = ("--val-every", 2**31 - 1, "--val-docs", VAL_DOCS)
        silent = ("--quiet", "--n-samples", 0, "--no-plot")
        command = [sys.executable, "main.py", *what, *flags, *at_the_end, *silent, *BACKENDS.get(self.folder, ())]
        result = subprocess.run(list(map(str, command)), cwd=ROOT / self.folder, capture_output=True, text=True)
        out.mkdir(parents=True, exist_ok=True)
        if result.returncode:
            if "try a smaller --lr" in result.stderr:
                return math.inf
            sys.exit(f"{self.name}: {result.stderr.strip()}")
        (records,) = out.glob("*/*/metrics.jsonl")
        return json.loads(records.read_text().splitlines()[-1])["val_loss"]


def todays(name: str, folder: str) -> tuple[float, float]:
    """Return the learning rate and the clipping that a dataset or a scenario has now."""
    scenario = read_config_file(Path(name)) if name.endswith(".toml") else ConfigFile((name,))
    (dataset,) = scenario.datasets
    values = lesson_defaults(ROOT / folder / "microgpt.py")
    values |= dataset_values(registry.entries()[dataset].defaults, dataset)
    values |= scenario.values
    return values["learning_rate"], values["clip_grad"]


def grid(search: Search, rates: set[float], clips: list[float], seeds: range) -> dict[tuple[float, float], float]:
    """Return the mean validation loss of each (rate, clip), and of as many further rates as it takes."""
    found: dict[tuple[float, float], float] = {}
    while True:
        for lr in sorted(rates):
            for clip in clips:
                if (lr, clip) not in found:
                    found[lr, clip] = statistics.mean(search.validation_loss(lr, clip, seed) for seed in seeds)
        best, _ = min(found, key=lambda setting: found[setting])
        if min(rates) < best < max(rates):
            return found
        rates.add(best * 2 if best == max(rates) else best / 2)


def table(search: Search, settings: list[tuple[float, float]], today: tuple[float, float], seeds: range) -> str:
    """Return a row for each setting, the best first: its losses, and how far it is from today's at the same seeds."""
    losses = {each: [search.validation_loss(*each, seed) for seed in seeds] for each in settings}
    rows = [
        "| dataset | lr | clip | loss | smallest to largest | against today's, mean ± deviation |",
        "|---|" + "---:|" * 5,
    ]
    for (lr, clip), mine in sorted(losses.items(), key=lambda item: statistics.mean(item[1])):
        apart = [a - b for a, b in zip(mine, losses[today])]
        spread = statistics.stdev(apart) if len(apart) > 1 and math.isfinite(sum(apart)) else math.nan
        against = "today's" if (lr, clip) == today else f"{statistics.mean(apart):+.4f} ± {spread:.4f}"
        span = f"{min(mine):.4f} to {max(mine):.4f}"
        rows.append(
            f"| {Path(search.name).stem} | {lr:g} | {clip:g} | {statistics.mean(mine):.4f} | {span} | {against} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME_OR_SCENARIO")
    parser.add_argument(
        "--folder", default="02_numpy_manual_backprop", help="whose main.py trains (default: %(default)s)"
    )
    parser.add_argument("--rates", type=float, nargs="+", help="learning rates (default: half of today's, that, twice)")
    parser.add_argument("--clips", type=float, nargs="+", default=[0.0, 1.0], help="default: 0 (none) and 1")
    parser.add_argument("--grid-seeds", type=int, default=1, help="seeds for every setting (default: 1)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds for the best few (default: 3)")
    parser.add_argument("--best", type=int, default=3, help="how many are the best few (default: 3)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "search", help="where runs are kept (default: runs/search)"
    )
    args = parser.parse_args()
    for name in args.names:
        search = Search(name, args.folder, args.out)
        today = todays(name, args.folder)
        rates = {*(args.rates or (today[0] / 2, today[0] * 2)), today[0]}
        clips = sorted({*args.clips, today[1]})
        found = grid(search, rates, clips, range(FIRST_SEED, FIRST_SEED + args.grid_seeds))
        best = sorted(found, key=lambda setting: found[setting])[: args.best]
        print(table(search, list(dict.fromkeys([*best, today])), today, range(FIRST_SEED, FIRST_SEED + args.seeds)))


if __name__ == "__main__":
    main()
