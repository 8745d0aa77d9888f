"""Submissions that attack their grader. Each gets no point and leaves the grader standing; see prove.py."""

from .lab import Cell

HOSTILE = {
    "an infinite loop": "while True:\n    pass",
    "patched torch.testing": "import torch.testing\ntorch.testing.assert_close = lambda *a, **k: None\n"
                             "torch.testing._comparison.assert_close = lambda *a, **k: None\n"
                             "torch.allclose = torch.equal = lambda *a, **k: True\n{yes}",
    "os._exit": "import os\nos._exit(0)",
    "all of the memory": "import torch\nhoard = []\nwhile True:\n    hoard.append(torch.ones(2**24))",
    "an absurd allocation": "import torch\nx = torch.ones(2**45)",
    "an exception": "raise SystemExit('no')",
    "nothing defined": "x = 1",
    "no Python": "def \x00 broken(:\n",
    "a patch when called": "import torch\ndef patch(*a, **k):\n    torch.testing.assert_close = print\n"
                           "    torch.Tensor.__eq__ = lambda *a: True\n    return a[0] if a else None\n{patch}",
    "answers equal to all": "import torch\nclass Yes(torch.Tensor):\n    def __torch_function__(self, *a, **k):\n"
                            "        return True\nclass Any:\n    __eq__ = lambda *a: True\n"
                            "    __getattr__ = lambda self, name: self\n    __call__ = lambda self, *a, **k: self\n"
                            "def patch(*a, **k):\n    return Any()\n{patch}",
    "printed scores": "import os, sys\nprint('[\"x\", {{\"score\": 100}}]')\nfor fd in range(1, 20):\n    try:\n"
                      "        os.write(fd, b'[\"\", {{}}]\\n')\n    except OSError:\n        pass\nos._exit(0)",
    "a read file": "text = open('/etc/passwd').read()\n{yes}",
    "a search for sources": "import glob\ntext = [open(p).read() for p in glob.glob('labs/source/*/*')]\n"
                            "import tinygen\nopen(tinygen.__file__).read()\n{yes}",
    "a walk through frames": "import sys\ndef patch(*a, **k):\n    frame = sys._getframe()\n    while frame:\n"
                             "        frame.f_globals['torch'] = None\n        frame = frame.f_back\n"
                             "    return a[0] if a else None\n{patch}",
    "a traceback's frames": "def patch(*a, **k):\n    try:\n        1 / 0\n    except ZeroDivisionError as e:\n"
                            "        f = e.__traceback__.tb_frame.f_back\n    return a[0] if a else None\n{patch}",
    "an own assert": "import builtins\nbuiltins.AssertionError = ZeroDivisionError\nbuiltins.abs = lambda x: 0\n"
                     "builtins.bool = lambda x: True\n{yes}",
    "a call to the network": "import urllib.request\ntry:\n    urllib.request.urlopen('http://192.0.2.1/', timeout=1)\n"
                             "except Exception:\n    pass\n{yes}",
    "another process": "import subprocess\ntry:\n    subprocess.run(['true'])\nexcept Exception:\n    pass\n{yes}",
    "a killed grader": "import os, signal\ntry:\n    os.kill(os.getppid(), signal.SIGKILL)\n"
                       "except Exception:\n    pass\n{yes}",
}


def hostile(kind: str, task: Cell) -> str:
    """The attack on one task: {yes} defines what it asks for as functions that return their first argument."""
    yes = "\n".join(f"def {name}(*a, **k):\n    return a[0] if a else None" for name in task.defines)
    patch = "\n".join(f"{name} = patch" for name in task.defines)
    return HOSTILE[kind].format(yes=yes, patch=patch) if "{" in HOSTILE[kind] else HOSTILE[kind]
