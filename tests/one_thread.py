"""Imported before torch: it computes in one thread here, and in the processes that tests start.

Tensors of tests are tiny, and workers of pytest share the cores: threads that wait for each other
took more than half of the time. What a step is told (--threads) holds all the same.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")
