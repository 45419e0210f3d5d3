"""`main.py train`: train on one dataset or on several in turn, then print samples and draw pictures."""

import contextlib
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..contract import Engine, Folder
from ..data import datasets, registry
from ..data.datasets import Dataset
from ..run import agreement, checkpoint, metrics, plots, run_config, training
from ..run.bounds import Settings
from ..run.checkpoint import Checkpoint, describe_mismatch
from ..run.locks import FolderLock
from ..run.metrics import Curve
from ..run.progress import Progress, Silent, make_progress, short, sparkline
from ..run.training import Run, count_params
from ..system import files, interrupts
from ..system.console import follow, printable, say, shown
from ..system.errors import RunError, UserError
from . import flags
from .engines import load_engine, memory_errors, preparing
from .outcome import OUT_OF_MEMORY
from .run_folders import check_run_folders, check_same_file, dataset_folder, own_files, training_command
from .sample import new_sampler, print_samples, saved_settings
from .settings import ConfigFile, dataset_values, parse_table, read_config_file, resolve


def command(folder: Folder, args: Namespace) -> int:
    file = read_config_file(args.config) if args.config else ConfigFile()
    check_folder_file(folder, args, file)
    named = chosen_datasets(args.dataset or list(file.datasets) or ["names"])
    if args.checkpoint and len(named) > 1:
        raise UserError("--checkpoint goes on with one run: name one --dataset")
    check_run_folders(named)
    check_own_files(args, file, named)
    for name in named:
        check_same_file(args, name)
    if args.live_plot:
        check_live_plot()
    if (args.distributed or args.shard) and len(named) > 1:
        raise UserError("several processes train on one --dataset at a time; name one")
    engine = load_engine(folder, args)
    if args.distributed or args.shard:
        follow(engine.rank)
        interrupts.take_signals()
    if len(named) == 1:
        with memory_errors(engine):
            train_one(folder, engine, args, file, named[0])
        return 0
    return train_several(folder, engine, args, file, named)


def check_folder_file(folder: Folder, args: Namespace, file: ConfigFile) -> None:
    """Raise UserError for what the folder cannot honour, unless a flag overrules it."""
    in_force = {name: value for name, value in file.values.items() if name not in args.values}
    flags.check_folder(folder, in_force, f"--config {args.config}: ")


def check_live_plot() -> None:
    plots.LivePlot("a try").close()


def chosen_datasets(names: Iterable[str]) -> list[str]:
    """Return registry names and paths without repeats; `all` stands for the registry. UserError for an unknown one."""
    names = list(names)
    for fault in registry.faults().values() if "all" in names else ():
        say(f"left out: {fault}")
    expanded = [each for name in names for each in (registry.names() if name == "all" else [name])]
    return list(dict.fromkeys(map(registry.resolve, expanded)))


def check_own_files(args: Namespace, file: ConfigFile, named: list[str]) -> None:
    """Raise UserError for what is said of a user's own file where there is none."""
    said = {"--column": args.column}
    said |= {f"--config {args.config}: column": file.column, f"--config {args.config}: mode": file.mode}
    for what, value in said.items():
        if value is not None and not own_files(named):
            raise UserError(f"{what} is for a file of your own; {named[0]} is a dataset of the registry")


def train_several(folder: Folder, engine: Engine, args: Namespace, file: ConfigFile, named: list[str]) -> int:
    """Train in turn. One that fails does not stop the others; it is reported at the end."""
    failures: list[tuple[str, str, int]] = []
    folders: list[Path] = []
    try:
        with interrupts.on_leaving(lambda: report(failures)):
            for name in named:
                tell(args, f"\n=== {name} ===")
                try:
                    begun = resuming_what_began(folder, args, name)
                    with memory_errors(engine):
                        folders.append(train_one(folder, engine, begun, file, name))
                except (UserError, RunError) as error:
                    failures.append((name, str(error), error.exit_code))
                except MemoryError:
                    failures.append((name, OUT_OF_MEMORY, RunError.exit_code))
                if interrupts.asked_to_stop:  # and it could not be saved
                    return RunError.exit_code
            if folders and not args.no_plot:
                draw_datasets(args, folders)
    finally:  # also when a run was asked to stop
        report(failures)
    return max((exit_code for *_, exit_code in failures), default=0)


def report(failures: list[tuple[str, str, int]]) -> None:
    for name, message, _ in failures:
        say(f"{name} failed: {message}")


def resuming_what_began(folder: Folder, args: Namespace, name: str) -> Namespace:
    """A series that was stopped has datasets whose turn had not come: with --resume they begin now."""
    if not args.resume or (args.out / dataset_folder(name) / folder.name / folder.checkpoint).exists():
        return args
    return Namespace(**{**vars(args), "resume": False})


def draw_datasets(args: Namespace, folders: list[Path]) -> None:
    if not plots.available():
        return
    left_out: list[str] = []
    curves = [(folder.parent.name, metrics.read_curve(folder, metrics.MAX_BYTES, left_out)) for folder in folders]
    runs = [(name, curve) for name, curve in curves if curve]
    say_left_out(left_out)
    if runs:
        path = args.out / "all_losses.png"
        plots.draw_datasets(path, runs, f"{folders[0].name}: all datasets")
        tell(args, f"all losses: {shown(path)}")


def say_left_out(problems: Sequence[str]) -> None:
    """Say in one line what is not in a picture. It fails nothing: the runs that were trained have what they need."""
    if problems:
        more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
        say(f"left out of the picture: {problems[0]}{more}")


def train_one(folder: Folder, engine: Engine, args: Namespace, file: ConfigFile, name: str) -> Path:
    """Train on one dataset, save, sample, draw. Return the run's folder."""
    run_folder = args.out / dataset_folder(name) / folder.name
    if engine.rank:
        train_along(folder, engine, args, file, name, run_folder)
        return run_folder
    with FolderLock(run_folder) as lock:
        saved = resumed_checkpoint(folder, args, name, run_folder)
        own = own_reading(args, file, name, saved)
        dataset = datasets.load(name, **own, progress=lambda message: tell(args, message))
        with preparing(folder, args):
            run = begin(folder, engine, args, file, dataset, run_folder, saved)
        del saved  # its weights are in the run's state now
        check_prompt(run)
        lock.take()
        run.lock = lock
        train_and_record(folder, args, run)
        finish(args, run)
    return run_folder


def train_along(folder: Folder, engine: Engine, args: Namespace, file: ConfigFile, name: str, run_folder: Path) -> None:
    """Compute what the first of several processes computes, at the same time. Only that one writes."""
    saved = resumed_checkpoint(folder, args, name, run_folder)
    own = own_reading(args, file, name, saved)
    dataset = datasets.load(name, **own, progress=lambda message: None)
    run = begin(folder, engine, args, file, dataset, run_folder, saved)
    check_prompt(run)
    try:
        training.train(run, None, Silent(), args.save_every, args.stop_at)
    except training.Interrupted as interrupted:
        raise SystemExit(128 + interrupted.signum) from None
    if run.step == run.config.num_steps:
        print_samples(args, new_sampler(run))


def check_prompt(run: Run) -> None:
    """Raise UserError for a prompt that cannot be honoured: before hours of training, not after."""
    new_sampler(run)


def train_and_record(folder: Folder, args: Namespace, run: Run) -> None:
    """Train, and write what there is to know of it into the run's folder."""
    kept = kept_records(args, run)
    training.keep_records(run)
    training.write_config(run, folder.name, flags.computed_by(folder, args))
    live = open_live_plot(args, run)
    announce(args, run)
    progress = make_progress(run.config.num_steps, run.step, args.log_every, args.quiet)
    writer = metrics.Writer(run.folder, kept)
    if live:
        live.update(metrics.each(run.folder))
    try:
        training.train(run, writer, progress, args.save_every, args.stop_at, live.update if live else lambda r: None)
    except training.Interrupted as interrupted:
        close(progress)
        say(f"stopped after step {run.step} and saved; go on with --resume")
        raise SystemExit(128 + interrupted.signum) from None
    finally:
        close(progress)
        writer.close()
        if live:
            live.close()


def close(progress: Progress) -> None:
    with contextlib.suppress(OSError):  # whoever read our output has gone
        progress.close()


def own_reading(args: Namespace, file: ConfigFile, name: str, saved: Checkpoint | None) -> dict[str, str | None]:
    """How to read a user's own file: as the flag or the scenario says, else as the run that is resumed did."""
    if not own_files([name]):
        return {}  # a dataset of the registry has its own way
    remembered = saved.dataset if saved and saved.dataset["name"] == dataset_folder(name) else {}
    column = remembered.get("column")
    column = column if isinstance(column, str) else None
    return {"mode": file.mode or remembered.get("mode"), "column": args.column or file.column or column}


def resumed_checkpoint(folder: Folder, args: Namespace, name: str, run_folder: Path) -> Checkpoint | None:
    """Return what --resume or --checkpoint goes on from, or None for a new run."""
    if not (args.resume or args.checkpoint):
        return None
    remedy = f"train first, without --resume: {training_command(args, name)}"
    return checkpoint.load(args.checkpoint or run_folder / folder.checkpoint, remedy)


def begin(
    folder: Folder,
    engine: Engine,
    args: Namespace,
    file: ConfigFile,
    dataset: Dataset,
    run_folder: Path,
    saved: Checkpoint | None,
) -> Run:
    """Return a new run, or one resumed from the checkpoint `saved`."""
    checkpoint_path = run_folder / folder.checkpoint
    given = [args.values, file.values]
    if saved is None:
        layers = [*given, dataset_values(dataset.defaults, dataset.name)]
        settings = resolve(layers, engine.lesson.CONFIG, folder.dtypes, folder.device_dtypes)
        return training.start(engine, settings, dataset, run_folder, checkpoint_path)
    source = args.checkpoint or checkpoint_path
    settings = resumed_settings(folder, engine, given, dataset, saved, source)
    if settings.config.num_steps < saved.step:
        raise UserError(f"{source} has {saved.step} steps behind it already; --steps must be at least as many")
    if args.stop_at and args.stop_at < saved.step:
        raise UserError(f"{source} has {saved.step} steps behind it already; --stop-at must be at least as many")
    run = training.resume(engine, settings, dataset, run_folder, checkpoint_path, saved)
    run.source = source.resolve()
    if run.source != checkpoint_path.resolve():
        run.saved_step = None
    return run


def resumed_settings(
    folder: Folder, engine: Engine, given: list[dict[str, Any]], dataset: Dataset, saved: Checkpoint, source: Path
) -> Settings:
    """The checkpoint's own settings stand where nothing else was asked for. Shape and seed cannot change any more."""
    wanted = given[1] | given[0]
    difference = describe_mismatch(saved.config, wanted)
    if difference is None and wanted.get("seed", saved.config["seed"]) != saved.config["seed"]:
        difference = f"seed is {saved.config['seed']} in the checkpoint, {wanted['seed']} asked for"
    if difference:
        raise UserError(f"{source} does not fit: {difference}; leave the flag out, or train anew without --resume")
    remembered = validation_of(source.parent) if source.name == folder.checkpoint else {}
    layers = [*given, saved_settings(folder, saved, source), remembered, dataset_values(dataset.defaults, dataset.name)]
    return resolve(layers, engine.lesson.CONFIG, folder.dtypes, folder.device_dtypes)


def validation_of(run_folder: Path) -> dict[str, Any]:
    """Return how often a run validated, and on how many documents: nothing where its config.json does not say it."""
    try:
        content = run_config.read(run_folder)
        known: dict[str, Any] = {name: content[name] for name in ("val_every", "val_docs") if name in content}
        return parse_table(known, "training", str(run_folder / run_config.FILE))
    except UserError:
        return {}


def kept_records(args: Namespace, run: Run) -> Iterable[metrics.Record]:
    """The metrics of the steps before a resumed run's first, from beside the checkpoint that it goes on from."""
    if not run.step:
        return ()
    source = args.checkpoint.parent if args.checkpoint else run.folder
    own = run.saved_step is not None  # also where --checkpoint names the run's own
    kept, note = metrics.recover(source, run.step, run.trail, own)
    if note:
        say(note)
    # Those of another run are read now: if it is this folder's previous one, they are about to be written over.
    return kept if own else list(kept)


def open_live_plot(args: Namespace, run: Run) -> plots.LivePlot | None:
    if not args.live_plot:
        return None
    return plots.LivePlot(f"{run.data.dataset.name}, {run.folder.name}")


def announce(args: Namespace, run: Run) -> None:
    data, config = run.data, run.config
    what = f"{len(data.dataset.documents):,} {'documents' if data.dataset.mode == 'discrete' else 'paragraphs'}"
    weights = f"{count_params(config, data.tokenizer.vocab_size):,} weights"
    tell(args, f"{data.dataset.name}: {what}, {len(data.tokenizer.chars)} characters; {weights}")
    if run.step:
        tell(args, f"going on after step {run.step} of {config.num_steps}")


def finish(args: Namespace, run: Run) -> None:
    """Show how the loss went, print and keep the samples, draw the pictures."""
    curve = metrics.read_curve(run.folder)
    if curve:
        course = sparkline(curve.losses)
        tell(args, f"loss {course} {short(curve.emas[0])} to {short(curve.emas[-1])} (smoothed)")
    if run.step < run.config.num_steps:
        tell(args, f"stopped at step {run.step} of {run.config.num_steps}; go on with --resume")
        return
    samples = print_samples(args, new_sampler(run))
    files.write_text(run.folder / "samples.txt", "".join(sample + "\n" for sample in samples))
    if not args.no_plot:
        draw_pictures(args, run, curve)
    tell(args, f"checkpoint, samples and metrics: {shown(run.folder)}")


def draw_pictures(args: Namespace, run: Run, curve: Curve) -> None:
    if not plots.available():
        tell(args, f"{plots.MISSING}; to draw them: {drawing_command()}")
        return
    plots.draw_loss(run.folder / "loss.png", curve, f"{run.data.dataset.name}, {run.folder.name}")
    comparison = agreement.read(run.folder.parent)
    say_left_out(comparison.left_out)
    plots.draw_folders(comparison)


def drawing_command() -> str:
    """Return the command that draws the pictures of the run which has just ended, without training it again."""
    arguments = iter(sys.argv)
    kept = []  # all but --checkpoint FILE, which would begin there again
    for argument in arguments:
        if argument == "--checkpoint":
            next(arguments, None)
        elif not argument.startswith("--checkpoint="):
            kept.append(argument)
    resume = [] if "--resume" in kept else ["--resume"]
    return shlex.join(["uv", "run", "--with", "matplotlib", "python", *kept, *resume])


def tell(args: Namespace, message: str) -> None:
    if not args.quiet:
        print(printable(message, keep="\n"), flush=True)
