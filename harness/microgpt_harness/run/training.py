"""One run: train a lesson on one dataset, save it, and keep what there is to see of it."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from ..contract import Batch, Engine, Tensors
from ..data.batches import TrainingData, prepare
from ..data.datasets import Dataset
from ..system import files, interrupts, memory
from ..system.errors import RunError, UserError
from ..system.interrupts import StopRequest
from . import checkpoint, metrics, run_config
from .bounds import DTYPES, Settings
from .checkpoint import Checkpoint
from .drawing import first_weights
from .locks import FolderLock
from .progress import Progress

KEPT_SAMPLING = ("top_k", "max_tokens", "repetition_penalty")  # what a checkpoint says of how to draw
CALL_SECONDS = 0.1  # how long one call of the engine should last: short enough to watch and to interrupt
MAX_STEPS_PER_CALL = 500
SIGNAL_SECONDS = 0.1  # how much later a signal may come than what it tells of
SAVE_SECONDS = 60.0  # the most that a run may lose when its process is killed
STOP_SECONDS = 5.0  # beside two calls: how long several processes that are to stop wait for each other
# Bytes of memory for each weight: itself, its gradient, Adam's two means, and, while a checkpoint is written, a copy of
# all but the gradient.
BYTES_A_WEIGHT = {"float32": 7 * 4, "float64": 7 * 8}


class Interrupted(Exception):
    """Signal `signum` asked the run to stop, and what was trained so far has been saved."""

    def __init__(self, signum: int) -> None:
        self.signum = signum


@dataclass
class Run:
    """A run as it stands: what it computes with, where it writes, and how far it is."""

    engine: Engine
    settings: Settings
    data: TrainingData
    folder: Path
    checkpoint_path: Path
    rng: Random
    state: Any
    step: int = 0
    ema: float | None = None
    saved_step: int | None = None  # of the checkpoint on disk, once this run has written or read one
    trail: metrics.Trail = field(default_factory=dict)  # smoothed losses by which its records are known
    lock: FolderLock | None = None
    writer: metrics.Writer | None = None  # of its records
    source: Path | None = None  # the checkpoint that it goes on from

    @property
    def config(self) -> Any:
        return self.settings.config


def start(engine: Engine, settings: Settings, dataset: Dataset, folder: Path, checkpoint_path: Path) -> Run:
    """Begin a run: one generator decides the order of documents, then the weights, then, at the end, the samples."""
    rng = Random(settings.config.seed)
    data = prepare(dataset, engine.lesson.Tokenizer, settings.config.block_size, rng)
    check_size(settings, data.tokenizer.vocab_size, checkpoint_path)
    params = first_weights(engine.lesson, settings.config, data.tokenizer.vocab_size, rng)
    state = make_state(engine, settings, params)
    return Run(engine, settings, data, folder, checkpoint_path, rng, state)


def resume(
    engine: Engine, settings: Settings, dataset: Dataset, folder: Path, checkpoint_path: Path, saved: Checkpoint
) -> Run:
    """Take a run up again where a checkpoint left it. `settings` must already carry the checkpoint's config.

    Raises UserError if the checkpoint was trained on other data.
    """
    rng = Random(settings.config.seed)
    data = prepare(dataset, engine.lesson.Tokenizer, settings.config.block_size, rng)
    if data.tokenizer.chars != saved.chars or saved.dataset.get("sha256") != data.sha256:
        raise UserError(
            f"the checkpoint was trained on {other_data(saved.dataset, dataset)}, or train anew without --resume"
        )
    check_size(settings, data.tokenizer.vocab_size, checkpoint_path)
    rng.setstate(saved.rng_state)
    state = make_state(engine, settings, saved.params, saved.adam_m, saved.adam_v, saved.step)
    trail = metrics.trail_to(saved.step, saved.extra)
    ema = trail.get(saved.step)
    return Run(engine, settings, data, folder, checkpoint_path, rng, state, saved.step, ema, saved.step, trail)


def other_data(saved: dict[str, Any], dataset: Dataset) -> str:
    """Say what a checkpoint was trained on, if not on this dataset, and what to do."""
    if saved["name"] != dataset.name:
        return f"other data than {dataset.name} holds (it says {saved['name']!r}); name the same --dataset"
    if saved.get("column") != dataset.column:
        column = f"column {saved['column']!r} of" if "column" in saved else "whole lines of"
        return f"{column} {dataset.name}; leave --column out"
    return f"{dataset.name} before that file changed; bring it back as it was"


def make_state(
    engine: Engine,
    settings: Settings,
    params: Tensors,
    adam_m: Tensors | None = None,
    adam_v: Tensors | None = None,
    step: int = 0,
) -> Any:
    try:
        return engine.make_state(settings.config, params, adam_m, adam_v, step, settings.dtype, settings.device)
    except ValueError as error:
        raise UserError(str(error)) from error


def write_config(run: Run, folder_name: str, computed_by: dict[str, Any]) -> None:
    """Write config.json: all that it takes to say what was run. `computed_by` names backend and compiler."""
    settings = dataclasses.asdict(run.settings)
    config = settings.pop("config")
    content = {
        "folder": folder_name,
        **computed_by,
        "dataset": run.data.dataset.name,
        "mode": run.data.dataset.mode,
        **column_of(run),
        **({"file": run.data.dataset.file} if run.data.dataset.file else {}),
        "documents": len(run.data.dataset.documents),
        "vocab_size": run.data.tokenizer.vocab_size,
        "num_params": count_params(run.config, run.data.tokenizer.vocab_size),
        "config": config,
        **settings,
    }
    files.write_text(run.folder / run_config.FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def count_params(config: Any, vocab_size: int) -> int:
    return checkpoint.count_weights(dataclasses.asdict(config), vocab_size)


def check_size(settings: Settings, vocab_size: int, checkpoint_path: Path) -> None:
    """Raise UserError for a model too large for the checkpoint's format, or for this machine."""
    weights = count_params(settings.config, vocab_size)
    limit = checkpoint.MAX_JSON_WEIGHTS
    if checkpoint_path.suffix == ".json" and weights > limit:
        raise UserError(f"a model of {weights:,} weights; the limit is {limit:,} here: use a smaller --n-embd")
    needed, there = weights * BYTES_A_WEIGHT[DTYPES[settings.dtype]], memory.total()
    if needed > there:
        what = f"a model of {weights:,} weights needs {needed / 1e9:,.1f} GB of memory"
        raise UserError(f"{what}, and there are {there / 1e9:,.1f} GB: use a smaller --n-embd or --n-layer")


def train(
    run: Run,
    writer: metrics.Writer | None,
    progress: Progress,
    save_every: int = 0,
    stop_at: int | None = None,
    on_records: Callable[[list[metrics.Record]], None] = lambda records: None,
) -> None:
    """Train to the last step (or `stop_at`), saving at the end, every minute, and every `save_every` steps.

    Several processes take every decision alike; those without a `writer` leave writing to the one that has it.
    Raises Interrupted after a signal, when the step in hand is finished and saved; RunError if a loss is not finite.
    """
    try:
        take_all_steps(run, writer, progress, save_every, stop_at, on_records)
    except Exception as error:
        if any(words in str(error) for words in run.engine.LOST_PROCESS):
            raise RunError(f"another process of this run is gone; {kept(run)}; go on with --resume") from error
        raise


def take_all_steps(
    run: Run,
    writer: metrics.Writer | None,
    progress: Progress,
    save_every: int,
    stop_at: int | None,
    on_records: Callable[[list[metrics.Record]], None],
) -> None:
    last = min(run.config.num_steps, stop_at or run.config.num_steps)
    marks = [every for every in (run.settings.val_every, save_every) if every]
    validation_batch = run.data.validation_batch(run.settings.val_docs) if run.settings.val_every else []
    steps_per_call = 1
    run.writer = writer
    clock = SaveClock()
    limit = (lambda: STOP_SECONDS + 2 * clock.longest) if interrupts.together else None
    with StopRequest(last_words=lambda: kept(run), limit=limit) as request:
        while run.step < last and not stop_signal(run, request):
            next_mark = min([last, *((run.step // every + 1) * every for every in marks)])
            n_steps = min(steps_per_call, next_mark - run.step)
            losses, own_seconds = take_steps(run, n_steps)
            (seconds,) = run.engine.maximum([own_seconds])
            records = make_records(run, losses, seconds / n_steps)
            check_finite(run, records, writer)
            run.step += n_steps
            run.ema = records[-1]["ema"]
            run.trail = metrics.longer_trail(run.trail, records)
            if validation_batch and (run.step % run.settings.val_every == 0 or run.step == run.config.num_steps):
                records[-1]["val_loss"] = validate(run, validation_batch)
            if writer is not None:
                writer.write(records)
            lost = show(progress, records, request)
            is_due, is_lost = run.engine.maximum([clock.is_due(), lost is not None])
            if is_lost:
                save(run)  # all processes do: putting the weights together may take every one of them
                reason = f"the output cannot be written ({lost.strerror if lost else 'in process 0'})"
                raise RunError(f"{reason}; stopped after step {run.step} and saved; go on with --resume")
            on_records(records)
            marked = save_every and run.step % save_every == 0
            if (is_due or marked) and run.step < last:
                save_in_passing(run, clock, request)
            steps_per_call = adapt(steps_per_call, n_steps, seconds)
        request.obeyed = True
        save(run)
    if signum := stop_signal(run, request):
        raise Interrupted(signum)
    progress.close()


def save_in_passing(run: Run, clock: "SaveClock", request: StopRequest) -> None:
    """Save while training goes on. A signal that comes meanwhile waits, however long one process takes to write."""
    request.saving = True
    clock.time(lambda: save(run))
    run.engine.maximum([0.0])  # the others wait here
    request.saving = False


def stop_signal(run: Run, request: StopRequest) -> int:
    """Return the signal that asks the run to stop, in whichever process it has arrived, or 0."""
    return int(run.engine.maximum([request.signum])[0])


class SaveClock:
    """Says when to save, so that what is on disk is never further behind than SAVE_SECONDS.

    By then the next checkpoint must be written: so the time that saving takes counts too, and that of one more round of
    training, as long as the longest since the last save. A model that takes 20 seconds to save is saved less often:
    never does saving take more than half of the time.
    """

    def __init__(self) -> None:
        self.saving = 0.0  # seconds that the last save took
        self.longest = 0.0  # of all rounds
        self.start()

    def start(self) -> None:
        self.began = self.round_began = time.monotonic()
        self.longest_round = 0.0

    def is_due(self) -> bool:
        """Ask once a round."""
        now = time.monotonic()
        self.longest_round = max(self.longest_round, now - self.round_began)
        self.longest = max(self.longest, self.longest_round)
        self.round_began = now
        ends = now + self.longest_round + self.saving
        return ends - self.began >= SAVE_SECONDS and now - self.began >= 2 * self.saving

    def time(self, save: Callable[[], None]) -> None:
        """Save, and count from the moment that is saved."""
        self.start()
        save()
        self.round_began = time.monotonic()
        self.saving = self.round_began - self.began


def validate(run: Run, batch: Batch) -> float:
    loss = run.engine.evaluate(run.state, batch, run.config)
    if not math.isfinite(loss):
        raise RunError(diverged(run, f"the validation loss is {loss}", run.step))
    return loss


def take_steps(run: Run, n_steps: int) -> tuple[list[float], float]:
    """Train for n_steps. Return their losses and the seconds they took together."""
    batches = [run.data.batch(step, run.config.batch_size) for step in range(run.step, run.step + n_steps)]
    began = time.perf_counter()
    run.state, losses = run.engine.train_steps(run.state, batches, run.config)
    return losses, time.perf_counter() - began


def make_records(run: Run, losses: list[float], seconds: float) -> list[metrics.Record]:
    records: list[metrics.Record] = []
    ema = run.ema
    for step, loss in enumerate(losses, start=run.step):
        ema = metrics.smoothed(ema, loss)
        lr = learning_rate(run.config, step)
        records.append({"step": step + 1, "loss": loss, "ema": ema, "lr": lr, "seconds": seconds})
    return records


def learning_rate(config: Any, step: int) -> float:
    """Return the rate of a step, counted from 0, for its record. A lesson stands alone, so it computes its own."""
    peak: float = config.learning_rate
    return peak * 0.5 * (1 + math.cos(math.pi * step / config.num_steps))


def check_finite(run: Run, records: list[metrics.Record], writer: metrics.Writer | None) -> None:
    """Raise RunError at the first loss that is no number any more, when the records before it are written."""
    for i, record in enumerate(records):
        if not math.isfinite(record["loss"]):
            if writer is not None:
                writer.write(records[:i])
            raise RunError(diverged(run, f"the loss is {record['loss']}", record["step"]))


def diverged(run: Run, what: str, step: int) -> str:
    advice = f"try a smaller --lr than {run.config.learning_rate:g}, or --clip-grad 1"
    return f"{what} at step {step}; {kept(run)}; {advice}"


def kept(run: Run) -> str:
    """Say what is left of a run that ends here."""
    if run.saved_step is not None:
        return f"the checkpoint of step {run.saved_step} is kept: {run.checkpoint_path}"
    if run.checkpoint_path.exists():
        return f"nothing was saved yet, and the checkpoint of the run before is kept: {run.checkpoint_path}"
    return "nothing was saved yet"


def show(progress: Progress, records: list[metrics.Record], request: StopRequest) -> OSError | None:
    """Report the steps. Return the error where nobody takes the report any more (`| head`, a full disk)."""
    try:
        for record in records:
            progress.update(record["step"], record["loss"], record["ema"], record.get("val_loss"))
    except OSError as error:
        time.sleep(SIGNAL_SECONDS)  # a dropped ssh takes the terminal away first, and then says so by SIGHUP
        return None if request.signum else error  # with a signal, all is saved in a moment
    return None


def adapt(steps_per_call: int, n_steps: int, seconds: float) -> int:
    """Return how many steps the next call should take, so that it lasts about CALL_SECONDS."""
    if seconds > 2 * CALL_SECONDS:
        return max(1, steps_per_call // 2)
    if seconds < CALL_SECONDS / 2 and n_steps == steps_per_call:
        return min(2 * steps_per_call, MAX_STEPS_PER_CALL)
    return steps_per_call


def save(run: Run) -> None:
    """Write the checkpoint. Before the first one of a new run, an earlier run's is kept as previous.*.

    The records up to its step are on the disk before it is: no power cut leaves a checkpoint that counts on others.
    Of several processes, which may have to put the weights together first, only the first one writes.
    """
    params, adam_m, adam_v = run.engine.export_state(run.state)
    if run.engine.rank:
        run.saved_step = run.step
        return
    hold(run)
    if run.saved_step is None and run.checkpoint_path.exists():
        previous = run.checkpoint_path.with_name(f"previous{run.checkpoint_path.suffix}")
        if run.source == previous.resolve():  # until this run is saved, it is the only file that has it
            files.set_aside(previous)
        files.keep_previous(run.checkpoint_path, previous)
    if run.writer:
        run.writer.sync()
    content = Checkpoint(
        params=params,
        adam_m=adam_m,
        adam_v=adam_v,
        step=run.step,
        config=dataclasses.asdict(run.config),
        chars=run.data.tokenizer.chars,
        dataset={
            "name": run.data.dataset.name,
            "mode": run.data.dataset.mode,
            **column_of(run),
            "sha256": run.data.sha256,
        },
        rng_state=run.rng.getstate(),
        dtype=run.settings.dtype,
        extra={
            "ema": run.ema,
            "trail": [list(pair) for pair in run.trail.items()],
            "sampling": sampling_settings(run.settings),
        },
    )
    checkpoint.save(run.checkpoint_path, content)
    run.saved_step = run.step


def column_of(run: Run) -> dict[str, str]:
    """Return the column of a user's own CSV under its name: --resume takes it up again, and compare looks at it."""
    return {"column": run.data.dataset.column} if run.data.dataset.column is not None else {}


def hold(run: Run) -> None:
    """Make sure that the folder is this run's, even if somebody has deleted it meanwhile."""
    if run.lock:
        try:
            run.lock.take()
        except UserError as error:
            raise RunError(f"its files were deleted while this run went on: {error}") from None


def sampling_settings(settings: Settings) -> dict[str, Any]:
    """Return how to draw, as `main.py sample` takes it up again: not what was asked for on one occasion."""
    values = {name: getattr(settings, name) for name in KEPT_SAMPLING}
    return {name: value for name, value in values.items() if value is not None}


def keep_records(run: Run) -> None:
    """Before a new run writes its own: keep the metrics and the config that belong to the checkpoint which is there."""
    if run.saved_step is not None or not run.checkpoint_path.exists():
        return
    try:
        saved = checkpoint.load(run.checkpoint_path)
    except UserError:  # damaged: nothing can belong to it
        return
    trail = metrics.trail_to(saved.step, saved.extra)
    found, _ = metrics.look(run.folder / metrics.FILE, trail)
    kept, _ = metrics.look(run.folder / metrics.PREVIOUS, trail)
    if found and not (kept and kept.last >= found.last):  # as after a run that was killed before its first save
        for name in (metrics.FILE, run_config.FILE):
            if (run.folder / name).exists():
                files.keep_previous(run.folder / name, run.folder / f"previous.{name}")
