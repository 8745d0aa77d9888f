"""One thread for torch: processes that compete for the cores are slower than processes that share them."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
