"""What exercises of this folder need beside their numbers (harness/microgpt_harness/tools/exercises/subjects.py)."""

import numpy as np


def array(rows, lesson):
    return np.array(rows, np.float64)
