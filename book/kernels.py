"""The environment that chapters are executed in, whoever starts the kernel."""

import os
from pathlib import Path


def prepare() -> None:
    """Kernels started from here on use this Python, this checkout's `tinygen`, one thread (if nothing else is set)."""
    checkout = str(Path(__file__).resolve().parents[1])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if checkout not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([checkout, *filter(None, paths)])
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
