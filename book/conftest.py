"""For nbval: the same environment as book/execute.py."""

from kernels import prepare

prepare()
