"""Times against peers, one small program per row: `python -m tests.benchmarks.dsa --pairs 66`.

Importing this package sets one thread for every library that computes, so it must come before numpy and torch:
`python -m tests.benchmarks.NAME` sees to that.
"""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
