"""The program behind every folder's main.py."""

import contextlib
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from . import datasets, files, flags, interrupts
from .console import printable, say, shown
from .contract import Engine, Folder
from .engines import load_engine, memory_errors
from .errors import RunError, UserError
from .locks import FolderLock
from .paths import RUNS
from .settings import OPTIONS, ConfigFile, Settings, dataset_values, parse_table, read_config_file, resolve

OUT_OF_MEMORY = "out of memory; use a smaller model (--n-embd, --n-layer, --block-size) or --batch-size"


def main(folder: Folder, argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 a run that failed, 2 wrong input, 128 + n stopped by signal n."""
    return run_program(lambda: dispatch(folder, sys.argv[1:] if argv is None else argv))


def run_program(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; whatever goes wrong becomes one line and a code."""
    prepare_streams()
    code = attempt(command)
    lost = flush(sys.stdout)
    interrupts.wait_for_reader(True)
    if lost and not code:
        code = lost_output(lost)
    flush(sys.stderr)  # nobody is left to be told
    interrupts.ignore()
    return code


def flush(stream: Any) -> OSError | None:
    """Write what is still held back. If it cannot be, drop it: Python would try again at its end and exit with 120."""
    try:
        stream.flush()
        return None
    except OSError as error:
        interrupts.wait_for_reader(True)  # of this pipe: behind it will be another file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error


def lost_output(error: OSError) -> int:
    """Say why nobody takes our output any more. A reader who has gone, as `head` does, needs no telling."""
    if not isinstance(error, BrokenPipeError):
        say(f"the output could not be written: {error.strerror or error}; make room, or send it elsewhere")
    return 1


def prepare_streams() -> None:
    """Speak UTF-8 everywhere: Windows' consoles would not take a sparkline. A stream that is closed swallows all."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (open as long as the program runs)
        getattr(sys, name).reconfigure(encoding="utf-8", errors="replace")


def attempt(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as error:  # --help, and a run that was asked to stop
        return error.code or 0
    except (UserError, RunError) as error:
        say(str(error))
        return error.exit_code
    except MemoryError:
        say(OUT_OF_MEMORY)
        return 1
    except OSError as error:
        if error.filename is None:  # of standard output
            return lost_output(error)
        say(f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}")
        return UserError.exit_code
    except Exception as error:
        if os.environ.get("MICROGPT_DEBUG"):
            raise
        say(f"unexpected {type(error).__name__}: {error}; set MICROGPT_DEBUG=1 to see where")
        return 1


def dispatch(folder: Folder, argv: list[str]) -> int:
    args = flags.parse(folder, argv)
    if args.command == "sample":
        return sample_command(folder, args)
    if args.command == "bench":
        from . import bench

        return bench.command(folder, args)
    if args.list:
        from .listing import print_list

        print_list()
        return 0
    return train_command(folder, args)


# ---- train ----


def train_command(folder: Folder, args: Namespace) -> int:
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
    engine = load_engine(folder, args)
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
    from . import plots

    plots.LivePlot("a try").close()


def chosen_datasets(names: Iterable[str]) -> list[str]:
    """Return registry names and paths without repeats; `all` stands for the registry. UserError for an unknown one."""
    names = list(names)
    for fault in datasets.faults().values() if "all" in names else ():
        say(f"left out: {fault}")
    expanded = [each for name in names for each in (datasets.names() if name == "all" else [name])]
    return list(dict.fromkeys(map(datasets.resolve, expanded)))


def check_run_folders(named: list[str]) -> None:
    """Raise UserError where two datasets would write into the same folder."""
    taken: dict[str, str] = {}
    for name in named:
        other = taken.setdefault(dataset_folder(name), name)
        if other != name:
            raise UserError(
                f"{other} and {name} would both be kept in the folder {dataset_folder(name)};"
                " rename one, or train them one by one, each with an --out of its own"
            )


def check_same_file(args: Namespace, name: str) -> None:
    """Raise UserError where the folder for a user's own file holds runs of another file: two may have one name."""
    from . import run_config

    if not own_files([name]):
        return
    folder = args.out / dataset_folder(name)
    for run_folder in folder.glob("*/"):
        try:
            other = run_config.read(run_folder).get("file", name)
        except UserError:
            continue
        if datasets.differ(Path(name), Path(other)):
            raise UserError(
                f"{shown(folder)} holds runs of {other}, another file of that name: rename {name},"
                " or choose another folder with --out"
            )


def check_own_files(args: Namespace, file: ConfigFile, named: list[str]) -> None:
    """Raise UserError for what is said of a user's own file where there is none."""
    said = {"--column": args.column}
    said |= {f"--config {args.config}: column": file.column, f"--config {args.config}: mode": file.mode}
    for what, value in said.items():
        if value is not None and not own_files(named):
            raise UserError(f"{what} is for a file of your own; {named[0]} is a dataset of the registry")


def own_files(named: list[str]) -> list[str]:
    return [name for name in named if name not in datasets.names()]


def train_several(folder: Folder, engine: Engine, args: Namespace, file: ConfigFile, named: list[str]) -> int:
    """Train in turn. One that fails does not stop the others; it is reported at the end."""
    failures, folders = [], []
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
    from . import metrics, plots

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
    with FolderLock(run_folder) as lock:
        saved = resumed_checkpoint(folder, args, name, run_folder)
        own = own_reading(args, file, name, saved)
        dataset = datasets.load(name, **own, progress=lambda message: tell(args, message))
        run = begin(folder, engine, args, file, dataset, run_folder, saved)
        check_sampler(run)  # a prompt that cannot be honoured is known before hours of training, not after
        lock.take()
        run.lock = lock
        train_and_record(folder, args, run)
        finish(args, run)
    return run_folder


def train_and_record(folder: Folder, args: Namespace, run: Any) -> None:
    """Train, and write what there is to know of it into the run's folder."""
    from . import metrics, training
    from .progress import make_progress

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


def close(progress: Any) -> None:
    with contextlib.suppress(OSError):  # whoever read our output has gone
        progress.close()


def own_reading(args: Namespace, file: ConfigFile, name: str, saved: Any) -> dict[str, str | None]:
    """How to read a user's own file: as the flag or the scenario says, else as the run that is resumed did."""
    if not own_files([name]):
        return {}  # a dataset of the registry has its own way
    remembered = saved.dataset if saved and saved.dataset["name"] == dataset_folder(name) else {}
    column = remembered.get("column")
    column = column if isinstance(column, str) else None
    return {"mode": file.mode or remembered.get("mode"), "column": args.column or file.column or column}


def resumed_checkpoint(folder: Folder, args: Namespace, name: str, run_folder: Path) -> Any:
    """Return what --resume or --checkpoint goes on from, or None for a new run."""
    if not (args.resume or args.checkpoint):
        return None
    remedy = f"train first, without --resume: {training_command(args, name)}"
    return load_checkpoint(args.checkpoint or run_folder / folder.checkpoint, remedy)


def begin(
    folder: Folder, engine: Engine, args: Namespace, file: ConfigFile, dataset: Any, run_folder: Path, saved: Any
) -> Any:
    """Return a new run, or one resumed from the checkpoint `saved`."""
    from . import training

    checkpoint_path = run_folder / folder.checkpoint
    given = [args.values, file.values]
    if saved is None:
        settings = resolve(
            [*given, dataset_values(dataset.defaults, dataset.name)], engine.lesson.CONFIG, folder.dtypes
        )
        return training.start(engine, settings, dataset, run_folder, checkpoint_path)
    source = args.checkpoint or checkpoint_path
    settings = resumed_settings(folder, engine, given, dataset, saved, source)
    if settings.config.num_steps < saved.step:
        raise UserError(f"{source} has {saved.step} steps behind it already; --steps must be at least as many")
    if args.stop_at and args.stop_at < saved.step:
        raise UserError(f"{source} has {saved.step} steps behind it already; --stop-at must be at least as many")
    run = training.resume(engine, settings, dataset, run_folder, checkpoint_path, saved)
    if source.resolve() != checkpoint_path.resolve():
        run.saved_step = None
    return run


def load_checkpoint(path: Path, remedy: str) -> Any:
    from . import checkpoint

    return checkpoint.load(path, remedy)


def resumed_settings(
    folder: Folder, engine: Engine, given: list[dict], dataset: Any, saved: Any, source: Path
) -> Settings:
    """The checkpoint's own settings stand where nothing else was asked for. Shape and seed cannot change any more."""
    from .checkpoint import describe_mismatch

    wanted = given[1] | given[0]
    difference = describe_mismatch(saved.config, wanted)
    if difference is None and wanted.get("seed", saved.config["seed"]) != saved.config["seed"]:
        difference = f"seed is {saved.config['seed']} in the checkpoint, {wanted['seed']} asked for"
    if difference:
        raise UserError(f"{source} does not fit: {difference}; leave the flag out, or train anew without --resume")
    layers = [*given, saved_settings(folder, saved, source), dataset_values(dataset.defaults, dataset.name)]
    return resolve(layers, engine.lesson.CONFIG, folder.dtypes)


def kept_records(args: Namespace, run: Any) -> Iterable[dict]:
    """The metrics of the steps before a resumed run's first, from beside the checkpoint that it goes on from."""
    from . import metrics

    if not run.step:
        return ()
    source = args.checkpoint.parent if args.checkpoint else run.folder
    kept, note = metrics.recover(source, run.step, run.trail, own=not args.checkpoint)
    if note:
        say(note)
    # Those of another run are read now: if it is this folder's previous one, they are about to be written over.
    return list(kept) if args.checkpoint else kept


def open_live_plot(args: Namespace, run: Any) -> Any:
    if not args.live_plot:
        return None
    from . import plots

    return plots.LivePlot(f"{run.data.dataset.name}, {run.folder.name}")


def announce(args: Namespace, run: Any) -> None:
    from .training import count_params

    data, config = run.data, run.config
    what = f"{len(data.dataset.documents):,} {'documents' if data.dataset.mode == 'discrete' else 'paragraphs'}"
    weights = f"{count_params(config, data.tokenizer.vocab_size):,} weights"
    tell(args, f"{data.dataset.name}: {what}, {len(data.tokenizer.chars)} characters; {weights}")
    if run.step:
        tell(args, f"going on after step {run.step} of {config.num_steps}")


def finish(args: Namespace, run: Any) -> None:
    """Show how the loss went, print and keep the samples, draw the pictures."""
    from . import metrics
    from .progress import short, sparkline

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


def draw_pictures(args: Namespace, run: Any, curve: Any) -> None:
    from . import agreement, plots

    if not plots.available():
        tell(args, f"{plots.MISSING}; to draw them: {drawing_command()}")
        return
    plots.draw_loss(run.folder / "loss.png", curve, f"{run.data.dataset.name}, {run.folder.name}")
    comparison = agreement.read(run.folder.parent)
    say_left_out(comparison.left_out)
    plots.draw_folders(comparison)


def drawing_command() -> str:
    """Return the command that draws the pictures of the run which has just ended, without training it again."""
    resume = [] if "--resume" in sys.argv else ["--resume"]
    return shlex.join(["uv", "run", "--with", "matplotlib", "python", *sys.argv, *resume])


def tell(args: Namespace, message: str) -> None:
    if not args.quiet:
        print(printable(message, keep="\n"), flush=True)


# ---- sample ----


def new_sampler(run: Any) -> Any:
    from .sampling import Sampler

    return Sampler(run.engine, run.state, run.data.tokenizer, run.data.dataset.mode, run.settings, run.rng)


check_sampler = new_sampler  # building one checks the prompt


def print_samples(args: Namespace, sampler: Any) -> list[str]:
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


def sample_command(folder: Folder, args: Namespace) -> int:
    """Print samples from a run's checkpoint, or from any other."""
    from .sampling import Sampler
    from .training import make_state

    file = read_config_file(args.config) if args.config else ConfigFile()
    name = next(iter(file.datasets), "names") if args.dataset is None else args.dataset
    path = args.checkpoint or args.out / trained_folder(args, name) / folder.name / folder.checkpoint
    saved = load_checkpoint(path, f"train first: {training_command(args, name)}")
    engine = load_engine(folder, args)
    layers = [args.values, sampling_values(file), saved_settings(folder, saved, path)]
    settings = resolve(layers, engine.lesson.CONFIG, folder.dtypes)
    rng = Random(settings.config.seed)
    if "seed" not in args.values:
        rng.setstate(saved.rng_state)  # so that it prints what the run printed at its end
    with memory_errors(engine):
        state = make_state(engine, settings, saved.params)
        sampler = Sampler(engine, state, engine.lesson.Tokenizer(saved.chars), saved.dataset["mode"], settings, rng)
        print_samples(args, sampler)
    return 0


def sampling_values(file: ConfigFile) -> dict[str, Any]:
    """What a scenario says of sampling; its model and training are the checkpoint's by now."""
    sampling = {option.name for option in OPTIONS if option.group == "sampling"}
    return {name: value for name, value in file.values.items() if name in sampling}


def training_command(args: Namespace, name: str) -> str:
    out = [] if args.out == RUNS else ["--out", str(args.out)]
    column = ["--column", args.column] if getattr(args, "column", None) is not None else []
    return shlex.join(["uv", "run", "python", "main.py", "--dataset", name, *column, *out])


def trained_folder(args: Namespace, name: str) -> str:
    """The folder of a run by the dataset's name or path, or by its own name, whoever has the file by now."""
    plain = name not in ("", ".", "..") and Path(name).name == name
    is_folder = plain and os.path.isdir(args.out / name)  # noqa: PTH112 (Path's own fails where the name is too long)
    if is_folder:
        return name
    check_same_file(args, datasets.resolve(name))
    return dataset_folder(name)


def dataset_folder(name: str) -> str:
    """The folder's name under runs/, which a dataset of the registry shares with it."""
    resolved = datasets.resolve(name)
    return resolved if resolved in datasets.names() else datasets.own_name(resolved)


def saved_settings(folder: Folder, saved: Any, path: Path) -> dict[str, Any]:
    """What the checkpoint says of its model and of how its run sampled; where it is silent, the dataset's own way."""
    from .training import KEPT_SAMPLING

    entry = datasets.registry().get(saved.dataset["name"])
    own = dataset_values({"sampling": entry.sampling}, entry.name) if entry else {}
    sampling = saved.extra.get("sampling")
    sampling = sampling if isinstance(sampling, dict) else {}
    sampling = {name: value for name, value in sampling.items() if name in KEPT_SAMPLING}  # above all no prompt
    sampling = parse_table(sampling, "sampling", f"checkpoint {path}")
    dtype = {"dtype": saved.dtype} if saved.dtype in folder.dtypes else {}
    return own | sampling | saved.config | dtype
