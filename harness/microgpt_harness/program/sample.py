"""`main.py sample`: text from a run's checkpoint. Training ends with the same."""

import sys
from argparse import Namespace
from pathlib import Path
from random import Random
from typing import Any

from ..contract import Folder
from ..data import registry
from ..run import checkpoint
from ..run.checkpoint import Checkpoint
from ..run.sampling import Sampler
from ..run.training import KEPT_SAMPLING, Run, make_state
from ..system.console import printable, say
from .engines import load_engine, memory_errors, preparing
from .run_folders import trained_folder, training_command
from .settings import OPTIONS, ConfigFile, dataset_values, parse_table, read_config_file, resolve


def command(folder: Folder, args: Namespace) -> int:
    """Print samples from a run's checkpoint, or from any other."""
    file = read_config_file(args.config) if args.config else ConfigFile()
    name = next(iter(file.datasets), "names") if args.dataset is None else args.dataset
    path = args.checkpoint or args.out / trained_folder(args, name) / folder.name / folder.checkpoint
    saved = checkpoint.load(path, f"train first: {training_command(args, name)}")
    engine = load_engine(folder, args)
    layers = [args.values, sampling_values(file), saved_settings(folder, saved, path)]
    settings = resolve(layers, engine.lesson.CONFIG, folder.dtypes, folder.device_dtypes)
    rng = Random(settings.config.seed)
    if "seed" not in args.values:
        rng.setstate(saved.rng_state)  # so that it prints what the run printed at its end
    with memory_errors(engine):
        with preparing(folder, args):
            state = make_state(engine, settings, saved.params)
        sampler = Sampler(engine, state, engine.lesson.Tokenizer(saved.chars), saved.dataset["mode"], settings, rng)
        print_samples(args, sampler)
    return 0


def sampling_values(file: ConfigFile) -> dict[str, Any]:
    """What a scenario says of sampling; its model and training are the checkpoint's by now."""
    sampling = {option.name for option in OPTIONS if option.group == "sampling"}
    return {name: value for name, value in file.values.items() if name in sampling}


def saved_settings(folder: Folder, saved: Checkpoint, path: Path) -> dict[str, Any]:
    """What the checkpoint says of its model and of how its run sampled; where it is silent, the dataset's own way."""
    entry = registry.entries().get(saved.dataset["name"])
    own = dataset_values({"sampling": entry.sampling}, entry.name) if entry else {}
    sampling = saved.extra.get("sampling")
    sampling = sampling if isinstance(sampling, dict) else {}
    sampling = {name: value for name, value in sampling.items() if name in KEPT_SAMPLING}  # above all no prompt
    sampling = parse_table(sampling, "sampling", f"checkpoint {path}")
    dtype = {"dtype": saved.dtype} if saved.dtype in folder.dtypes else {}
    return own | sampling | saved.config | dtype


def new_sampler(run: Run) -> Sampler:
    return Sampler(run.engine, run.state, run.data.tokenizer, run.data.dataset.mode, run.settings, run.rng)


def print_samples(args: Namespace, sampler: Sampler) -> list[str]:
    """Print each sample, as it is drawn if asked to (or on a terminal). Return them as they were printed.

    A stream has lines, a discrete sample is one: there a newline is as foreign as any other control character.
    """
    keep = "\n\t" if sampler.mode == "stream" else ""
    live = sys.stdout.isatty() if args.stream is None else args.stream
    n_samples = sampler.settings.n_samples
    if n_samples > 1 and sampler.always_the_same and "n_samples" not in args.values:
        n_samples = 1
        if not args.quiet:
            say(f"one sample only: {sampler.always_the_same}, so all are the same; --n-samples N prints it N times")
    samples = []
    for number in range(1, n_samples + 1):
        head = f"sample {number:2d}: " if sampler.mode == "discrete" else f"--- sample {number} ---\n"
        print(head, end="")
        pieces = []
        for piece in (printable(piece, keep) for piece in sampler.sample()):
            pieces.append(piece)
            if live:
                print(piece, end="", flush=True)
        samples.append("".join(pieces))
        print("" if live else samples[-1], flush=True)
    return samples
