"""A small chapter, executed once for real, that the tests then corrupt."""

import shutil
from pathlib import Path

import execute
import pytest

CHAPTER = '''---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# Squares

The square of a sum is

$$
(a + b)^2 = a^2 + 2ab + b^2
$$ (eq-squares-sum)

```{code-cell} ipython3
from tinygen.checks import check

a, b = 3.0, 4.0
check("eq-squares-sum", (a + b) ** 2, a ** 2 + 2 * a * b + b ** 2)
```

Some text, and a cell whose time differs from run to run.

```{code-cell} ipython3
:tags: [nbval-check-output]

import time
start = time.perf_counter()
total = sum(range(100_000))
print(f"{total} in {time.perf_counter() - start:.6f} s at {id(total):#x}")
total % 7
```

```{code-cell} ipython3
:tags: [raises-exception]

raise ValueError("on purpose")
```

```{code-cell} ipython3
print("still here")
```
'''


@pytest.fixture(scope="session")
def executed(tmp_path_factory) -> Path:
    """The folder of an executed book of one chapter, 01-squares: never write to it."""
    folder = tmp_path_factory.mktemp("executed")
    (folder / "01-squares.md").write_text(CHAPTER)
    assert execute.main([], folder) == 0
    return folder


@pytest.fixture
def book(executed, tmp_path) -> Path:
    """A copy of that folder, to corrupt."""
    return Path(shutil.copytree(executed, tmp_path / "book"))
