"""How far the known mistakes are apart by their numbers, over many random points: `uv run python distances.py --help`.

The exercises call a mistake by its name where all numbers agree within 1e-9. That can only be right if no two mistakes
come near each other at any point: this prints the nearest two of each folder.
"""

import argparse
import sys

from exercising import distances
from lessons import FOLDERS, missing_here
from microgpt_harness.tools.exercises.tensors import TOLERANCE

TIMES = 1000  # the tolerance: the least distance


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="default: all")
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="random points (default: 100)")
    args = parser.parse_args()
    too_near = False
    for folder in args.folders or [folder for folder in FOLDERS if not missing_here(folder)]:
        found = (
            (distance, pair, seed) for seed in range(args.seeds) for pair, distance in distances(folder, seed).items()
        )
        distance, pair, seed = min(found)
        nearest = f"{' and '.join(pair)}, {distance:.1e} apart (seed {seed})"
        print(f"{folder:26} nearest at {args.seeds} points: {nearest}", flush=True)
        too_near |= distance < TIMES * TOLERANCE
    return int(too_near)


if __name__ == "__main__":
    sys.exit(main())
