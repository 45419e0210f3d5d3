"""Which kernels the libraries compute with here: `python kernels.py` prints them as JSON, library by library.

A library picks its kernels when it is loaded, by the processor and by environment variables. profiles.py asks in a
process of its own what its variables have led to: tests under a setting that is ignored would say nothing.
"""

import hashlib
import json
import math
import os
import random
import re
import subprocess
import sys


def main() -> None:
    libraries = {"NumPy": numpy, "OpenBLAS": openblas, "PyTorch": pytorch, "MKL": mkl, "XLA": xla, "Numba": numba}
    kernels = {library: kernel for library, ask in {**libraries, "libm": libm}.items() if (kernel := ask())}
    print(json.dumps({"kernels": kernels, "numpy_features": numpy_features()}))


def numpy_features() -> list[str]:
    """Return what NumPy has further loops for that this processor has too and that nobody has disabled."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]


def numpy() -> str:
    return " ".join(numpy_features()) or "baseline"


def openblas() -> str | None:
    """Return the processor whose kernels NumPy's matrix products use. None where NumPy brings another BLAS."""
    import numpy  # noqa: F401 - loads it
    from threadpoolctl import threadpool_info

    return next((info["architecture"] for info in threadpool_info() if info["internal_api"] == "openblas"), None)


def pytorch() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()


def mkl() -> str | None:
    """Return what MKL, which multiplies PyTorch's matrices on x86, prints of itself. AMD's get its AVX2 kernels."""
    code = "import torch; torch.ones(64, 64) @ torch.ones(64, 64)"
    env = os.environ | {"MKL_VERBOSE": "1"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    processors = re.search(r"Intel\(R\) 64 architecture (.*?) processors", said)
    reproducible = re.search(r"CNR:(\S+)", said)
    return f"{processors[1]}, CBWR {reproducible[1]}" if processors and reproducible else None


def xla() -> str | None:
    """Return the widest kind of instruction that JAX's compiler may use, as its compiled code says of itself."""
    import jax
    from jax.experimental.serialize_executable import serialize

    compiled = jax.jit(lambda x: x @ x).lower(jax.numpy.ones((16, 16))).compile()
    code, _, _ = serialize(compiled)
    kinds = {"AVX512": b"+avx512f", "AVX2": b"+avx2", "AVX": b"+avx", "SSE4_2": b"+sse4.2"}
    return next((name for name, feature in kinds.items() if re.search(re.escape(feature) + rb"\b", code)), None)


def numba() -> str:
    """Return the processor that Numba compiles for, and the bits of the widest registers in a loop of its own."""
    import numba
    import numpy
    from numba.core.registry import cpu_target

    @numba.njit(fastmath=True)
    def dot(x, y):
        total = 0.0
        for i in range(len(x)):
            total += x[i] * y[i]
        return total

    dot(numpy.ones(8), numpy.ones(8))
    (assembly,) = dot.inspect_asm().values()
    registers = {"zmm": 512, "ymm": 256, "xmm": 128}
    bits = next((bits for name, bits in registers.items() if f"%{name}" in assembly), None)
    _, processor, _ = cpu_target.target_context.codegen().magic_tuple()
    return f"{processor}, {bits} bits" if bits else processor


def libm() -> str:
    """Return a short hash of results of C's mathematical functions, which Python's `math` calls. Not a name, but
    another one where other kernels compute."""
    rng = random.Random(1)
    functions = (math.exp, math.sin, lambda x: math.log(abs(x)), lambda x: abs(x) ** 0.3)
    results = [f(rng.gauss(0, 3)) for _ in range(20_000) for f in functions]
    return hashlib.sha256(repr(results).encode()).hexdigest()[:6]


if __name__ == "__main__":
    main()
