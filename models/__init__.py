"""Models and rankings."""

import os

# Torch and numba share one pool of OpenMP threads. By default idle ones spin for milliseconds and take the cores from
# the BLAS between two kernels: training MovieLens 100K on two busy cores took 2 to 10 times as long. The library
# reads this when torch is first imported, so it has to stand here, before any of our modules.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
