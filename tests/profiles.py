"""The parity tests again, as other machines compute: other processors' kernels, other versions, other Pythons.

    uv run --directory tests python profiles.py                    # every profile that this machine can have
    uv run --directory tests python profiles.py avx2 plainest      # some of them
    uv run --directory tests python profiles.py --list

A processor's profile sets the variables by which each library can be told to pick other kernels, and asks the libraries
(kernels.py) whether they did: a profile that changes nothing where it should fails. A version's profile installs its
own environment into a temporary folder. What this machine cannot have is left out, and the reason is said.

It prints each bound's worst figure in every profile, and the smallest margin: how many times larger that figure could
be. Exit code 1: a test failed, or a profile did not act. It takes a minute or two a profile.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
# All whose outcome depends on how a machine rounds: the last two are what a lesson alone prints, and what READMEs show.
PARITY = ["test_same_point.py", "test_one_step.py", "test_same_curve.py", "test_mutants.py", "test_numba_backend.py"]
PARITY += ["test_lesson_structure.py::test_a_lesson_alone_prints_every_loss_and_20_samples", "test_readmes.py"]
X86 = platform.machine().lower() in ("x86_64", "amd64")


class Left(Exception):
    """This machine cannot have the profile; the reason why."""


class Failed(Exception):
    """The profile could not be what its name says; what is wrong."""


@dataclass(frozen=True)
class Profile:
    about: str
    env: dict[str, str] = field(default_factory=dict)
    disabled: str = ""  # which of NumPy's kinds of loops are disabled, as a pattern of their names
    needs: str = ""  # a kind of loops that the processor must have, lest it meet an instruction it does not know
    expected: dict[str, str] = field(default_factory=dict)  # library -> pattern of what kernels.py then says of it
    python: str = ""
    resolution: str = "highest"

    @property
    def is_a_processor(self) -> bool:
        return bool(self.expected)


# ONEDNN_MAX_CPU_ISA is set without being checked: nothing that the lessons do calls oneDNN, and so it says nothing.
PROFILES = {
    "native": Profile("what the libraries choose for this processor"),
    "avx2": Profile(
        "kernels for processors with AVX2 and no AVX-512",
        env={
            "OPENBLAS_CORETYPE": "Haswell",
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": "",  # without it the instructions stay those of this processor
        },
        disabled="X86_V4|AVX512.*",
        needs="X86_V3|AVX2",
        expected={
            "NumPy": r"(?!.*(AVX512|X86_V4)).*(AVX2|X86_V3).*",
            "OpenBLAS": "Haswell",
            "PyTorch": "AVX2",
            "MKL": r"(?!.*AVX-512).*",
            "XLA": "AVX2",
            "Numba": "haswell, 256 bits",
        },
    ),
    "plainest": Profile(
        "the plainest kernels that each library has",
        env={
            "OPENBLAS_CORETYPE": "Prescott",
            "ATEN_CPU_CAPABILITY": "default",
            "MKL_CBWR": "COMPATIBLE",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
            "NUMBA_CPU_NAME": "generic",
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
        },
        disabled=".*",
        expected={
            "NumPy": "baseline",
            "OpenBLAS": "Prescott|Katmai",
            "PyTorch": "DEFAULT",
            "MKL": ".*CBWR COMPATIBLE",
            "XLA": "SSE4_2",
            "Numba": "generic, 128 bits",
        },
    ),
    "skylake": Profile(
        "matrix products of NumPy as on an Intel server",
        env={"OPENBLAS_CORETYPE": "SkylakeX"},
        needs="X86_V4|AVX512_SKX",
        expected={"OpenBLAS": "SkylakeX"},
    ),
    "lowest": Profile("the lowest versions that pyproject.toml allows", resolution="lowest-direct"),
    "3.11": Profile("Python 3.11", python="3.11"),
    "3.12": Profile("Python 3.12", python="3.12"),
    "3.13": Profile("Python 3.13", python="3.13"),
    "3.14": Profile("Python 3.14", python="3.14"),
}


@dataclass
class Outcome:
    """What became of a profile. `state` is passed, failed or left out."""

    state: str
    says: str
    figures: dict[str, dict] = field(default_factory=dict)
    kernels: dict[str, str] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help="which (default: all)")
    parser.add_argument("--list", action="store_true", help="print the profiles and exit")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at a time (default: %(default)s)")
    args = parser.parse_args()
    if unknown := set(args.profiles) - set(PROFILES):
        parser.error(f"unknown profile {', '.join(sorted(unknown))}; there are {', '.join(PROFILES)}")
    chosen = {name: PROFILES[name] for name in args.profiles or PROFILES}
    if args.list:
        print(*(f"{name:9} {profile.about}" for name, profile in chosen.items()), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="microgpt-profiles-") as folder:
        outcomes = run_all(chosen, Path(folder), args.jobs)
    print(kernels_table(outcomes), figures_table(outcomes), sep="\n")
    return int(any(outcome.state == "failed" for outcome in outcomes.values()))


def run_all(chosen: dict[str, Profile], folder: Path, jobs: int) -> dict[str, Outcome]:
    """Prepare the profiles one after the other, as uv writes one lock file; test them several at a time."""
    native = None
    if any(profile.is_a_processor for profile in chosen.values()) and X86:
        native = ask_kernels(Path(sys.executable), {})
    outcomes: dict[str, Outcome] = {}
    tests = {}
    with ThreadPoolExecutor(jobs) as pool:
        for name, profile in chosen.items():
            try:
                python, env, kernels = prepare(name, profile, folder, native)
                tests[name] = pool.submit(run_tests, name, python, env, kernels, folder)
            except (Left, Failed) as reason:
                outcomes[name] = told(
                    name, Outcome("failed" if isinstance(reason, Failed) else "left out", str(reason))
                )
        outcomes |= {name: test.result() for name, test in tests.items()}
    return {name: outcomes[name] for name in chosen}


def told(name: str, outcome: Outcome) -> Outcome:
    print(f"{name}: {outcome.state}: {outcome.says}", flush=True)
    return outcome


def prepare(name: str, profile: Profile, folder: Path, native: dict | None) -> tuple[Path, dict, dict]:
    """Return the Python to run, the variables to set, and the kernels that the libraries say they use."""
    if profile.is_a_processor:
        env, kernels = choose_kernels(profile, native)
        return Path(sys.executable), env, kernels
    if profile.python or profile.resolution != "highest":
        python = install(profile, find_python(profile), folder / name)
    else:
        python = Path(sys.executable)
    return python, {}, ask_kernels(python, {})["kernels"]


# ---- processors ----


def choose_kernels(profile: Profile, native: dict | None) -> tuple[dict[str, str], dict[str, str]]:
    if native is None:
        raise Left(f"it is for x86 processors, and this is {platform.machine()}")
    features = native["numpy_features"]
    if profile.needs and not any(re.fullmatch(profile.needs, feature) for feature in features):
        raise Left("this processor lacks the instructions")
    if not misses(profile, native["kernels"]):
        raise Left("these are this processor's own kernels: the same as native")
    env = profile.env | {"NPY_DISABLE_CPU_FEATURES": " ".join(f for f in features if re.fullmatch(profile.disabled, f))}
    kernels = ask_kernels(Path(sys.executable), env)["kernels"]
    if missed := misses(profile, kernels):
        raise Failed(f"the setting does not act on {missed}")
    if "GLIBC_TUNABLES" in env and platform.libc_ver()[0] == "glibc" and kernels["libm"] == native["kernels"]["libm"]:
        raise Failed("the setting does not act on libm: its results are the same")
    return env, kernels


def misses(profile: Profile, kernels: dict[str, str]) -> str:
    """Return in words which libraries use other kernels than the profile expects. One that is not there misses none."""
    wrong = {
        library: kernels[library]
        for library, pattern in profile.expected.items()
        if library in kernels and not re.fullmatch(pattern, kernels[library])
    }
    return ", ".join(f"{library} ({kernel})" for library, kernel in wrong.items())


def ask_kernels(python: Path, env: dict[str, str]) -> dict:
    done = subprocess.run([python, HERE / "kernels.py"], env=environment(env), capture_output=True, encoding="utf-8")
    if done.returncode:
        raise Failed(f"kernels.py ended with {done.returncode}: {(done.stderr.splitlines() or [''])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def environment(changes: dict[str, str]) -> dict[str, str]:
    """Return our variables without those that a profile sets, and its own. One thread: two profiles run at a time."""
    set_by_any = {name for profile in PROFILES.values() for name in profile.env} | {"NPY_DISABLE_CPU_FEATURES"}
    kept = {name: value for name, value in os.environ.items() if name not in set_by_any | {"VIRTUAL_ENV"}}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"} | changes


# ---- versions ----


def find_python(profile: Profile) -> str:
    wanted = profile.python or sys.executable
    if profile.python == ".".join(map(str, sys.version_info[:2])):
        raise Left("this environment has that Python: the same as native")
    done = uv("python", "find", "--no-python-downloads", wanted, env=pyenv())
    if done.returncode:
        raise Left("this machine does not have that Python")
    return done.stdout.strip()


def pyenv() -> dict[str, str]:
    """Let pyenv, where it is installed, offer all its Pythons at once rather than the chosen one."""
    if shutil.which("pyenv") is None:
        return {}
    versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, encoding="utf-8").stdout.split()
    return {"PYENV_VERSION": ":".join(versions)}


def install(profile: Profile, python: str, folder: Path) -> Path:
    """Make an environment of its own, and leave the lock file for whoever runs the tests next as it was."""
    lock = HERE / "uv.lock"
    before = lock.read_bytes() if lock.exists() else None
    try:
        options = ("--python", python, "--no-python-downloads", "--resolution", profile.resolution)
        done = uv("sync", "--quiet", *options, env={"UV_PROJECT_ENVIRONMENT": str(folder)})
    finally:
        if before is not None:
            lock.write_bytes(before)
    if done.returncode:
        raise Failed(f"its environment cannot be installed: {' '.join(done.stderr.split())[-300:]}")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def uv(*args: str, env: dict[str, str]) -> subprocess.CompletedProcess:
    command = [os.environ.get("UV") or shutil.which("uv") or "uv", *args]
    return subprocess.run(command, cwd=HERE, env=environment(env), capture_output=True, encoding="utf-8")


# ---- tests ----


def run_tests(name: str, python: Path, env: dict[str, str], kernels: dict[str, str], folder: Path) -> Outcome:
    path = folder / f"{name}.json"
    caches = {"NUMBA_CACHE_DIR": str(folder / f"{name}.numba"), "PYTHONDONTWRITEBYTECODE": "1"}
    began = time.monotonic()
    done = subprocess.run(
        [python, "-m", "pytest", "-n", "0", *PARITY, "--figures", path],
        cwd=HERE,
        env=environment(env | caches),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    # MLX may say something behind pytest's last line.
    summaries = [line for line in done.stdout.splitlines() if re.search(r"\d (passed|failed|error)", line)]
    last = summaries[-1] if summaries else "no summary"
    if done.returncode:
        print(done.stdout)
    figures = json.loads(path.read_text(encoding="utf-8"))["bounds"] if path.exists() else {}
    says = f"{last.strip('= ')}; {time.monotonic() - began:.0f} s"
    return told(name, Outcome("failed" if done.returncode else "passed", says, figures, kernels))


# ---- tables ----


def kernels_table(outcomes: dict[str, Outcome]) -> str:
    libraries = dict.fromkeys(library for outcome in outcomes.values() for library in outcome.kernels)
    ran = {name: outcome for name, outcome in outcomes.items() if outcome.kernels}
    rows = [[name, *(outcome.kernels.get(library, "") for library in libraries)] for name, outcome in ran.items()]
    return "\nkernels\n" + table([["", *libraries], *rows])


def figures_table(outcomes: dict[str, Outcome]) -> str:
    ran = {name: outcome.figures for name, outcome in outcomes.items() if outcome.figures}
    bounds = {what: figure["bound"] for figures in ran.values() for what, figure in figures.items()}
    rows = []
    for what, bound in bounds.items():
        worst = {name: figures[what]["worst"] for name, figures in ran.items() if what in figures}
        name = max(worst, key=lambda name: worst[name])
        margin = bound / worst[name] if worst[name] else float("inf")
        shown = [in_digits(worst[name]) if name in worst else "" for name in ran]
        rows.append([what, in_digits(bound), *shown, f"{margin:.1f}" if margin < 10 else f"{margin:,.0f}", name])
    return "\nworst figure of each bound\n" + table([["", "bound", *ran, "margin", "least in"], *rows])


def in_digits(figure: float) -> str:
    return f"{figure:.1f}" if figure >= 0.1 else f"{figure:.1e}"


def table(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows)


if __name__ == "__main__":
    sys.exit(main())
