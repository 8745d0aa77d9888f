"""A small lab of two tasks, and its notebook, to judge, release and grade."""

from types import SimpleNamespace

import nbformat
import pytest

from tinygen.course.lab import read_lab, read_source
from tinygen.course.release import make_release

LAB = '''# %% [markdown]
# # Lab 99 · Squares
#
# A text.

# %% nbgrader={"grade_id": "setup", "locked": true}
import torch

def given(x):
    """Once."""
    return x + 1


# %% [markdown]
# ## Task 1

# %% nbgrader={"grade_id": "square", "solution": true}
def square(x):
    """The square."""
    ### BEGIN SOLUTION
    squared_value_of_the_input = x * x
    return squared_value_of_the_input
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_square", "grade": true, "points": 2}
assert square(3) == 9, f"the square of 3 is 9, not {square(3)}"
### BEGIN HIDDEN TESTS
torch.testing.assert_close(square(torch.tensor([-2.0])), torch.tensor([4.0]), msg="wrong below 0, in secret")
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test_square_type", "grade": true, "points": 1}
assert isinstance(square(3), int), "an int stays an int"

# %%
print("a demonstration that no grader runs", undefined_name_of_a_demonstration)

# %% nbgrader={"grade_id": "fourth", "solution": true}
def fourth(x):
    """The fourth power, by squaring twice."""
    ### BEGIN SOLUTION
    return square(square(given(x) - 1))
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_fourth", "grade": true, "points": 4}
assert fourth(2) == 16, f"2 to the fourth is 16, not {fourth(2)}"

# %% nbgrader={"grade_id": "plot", "solution": true}
### BEGIN SOLUTION
print("an experiment's code")
### END SOLUTION

# %% [markdown] nbgrader={"grade_id": "answer", "solution": true, "grade": true, "points": 3}
# ### BEGIN SOLUTION
# Because of the square, and of nothing else.
# ### END SOLUTION
'''


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> SimpleNamespace:
    """path, notebook, lab and release of the small lab: never write to them."""
    path = tmp_path_factory.mktemp("source") / "lab99" / "lab99.py"
    path.parent.mkdir()
    path.write_text(LAB)
    notebook = read_source(path)
    notebook.metadata["tinygen"] = nbformat.from_dict({"lab": "lab99", "blocked": []})
    nbformat.write(notebook, path.with_suffix(".ipynb"))
    lab, release = read_lab(notebook, "lab99"), make_release(notebook)
    return SimpleNamespace(path=path, notebook=notebook, lab=lab, release=release)
