"""How much faster is 02 with numba than with NumPy, at which size?

`uv run --directory tests python benchmarks/numba_and_numpy.py [rounds]` has `main.py bench` measure both, in turn, over
a grid of sizes, and prints the milliseconds of a step and how many times faster numba is. The documents fill the block:
they are lines of random letters. Each round measures every size once; the median of the rounds counts.
"""

import json
import random
import statistics
import string
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "02_numpy_manual_backprop"
BLOCK_SIZES, SIZES, BATCH_SIZES = (8, 64), (16, 32, 64, 128, 256), (1, 12, 32)
SECONDS = 1.0  # for each measurement


def write_documents(path):
    rng = random.Random(1)
    lines = ("".join(rng.choices(string.ascii_lowercase, k=max(BLOCK_SIZES))) for _ in range(1000))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(backend, data, block_size, n_embd, batch_size):
    """Return the median milliseconds of a step."""
    flags = ("--block-size", block_size, "--n-embd", n_embd, "--batch-size", batch_size, "--seconds", SECONDS)
    command = [sys.executable, "main.py", "bench", "--json", "--backend", backend, "--dataset", data, *flags]
    output = subprocess.run(map(str, command), cwd=FOLDER, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(output)["ms_per_step_median"]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    print("block_size  n_embd  batch_size     numpy     numba  times faster")
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "letters.txt"
        write_documents(data)
        for case in product(BLOCK_SIZES, SIZES, BATCH_SIZES):
            pairs = [[measure(backend, data, *case) for backend in ("numpy", "numba")] for _ in range(rounds)]
            numpy, numba = (statistics.median(column) for column in zip(*pairs))
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"{case[0]:10d}  {case[1]:6d}  {case[2]:10d} {numpy:9.3f} {numba:9.3f} {ratio:13.2f}", flush=True)


if __name__ == "__main__":
    main()
