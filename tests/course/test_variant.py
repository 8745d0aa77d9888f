"""A lab of one's own: renamed, reseeded, still proved; a course made of it."""

import pytest
from jupytext.compare import compare_notebooks

from tinygen.cli import main
from tinygen.course.course import Course
from tinygen.course.prove import load, prove
from tinygen.course.variant import make_variant, shift_seeds
from tinygen.errors import TinygenError

LAB = '''# %% nbgrader={"grade_id": "setup", "locked": true}
import math

def seeded(seed):
    return seed

kept = seeded(5)

# %% [markdown]
# Write `square`, of a number; squares are never negative.

# %% nbgrader={"grade_id": "square", "solution": true}
def square(x):
    """The square."""
    ### BEGIN SOLUTION
    return x * x
    ### END SOLUTION


# %% nbgrader={"grade_id": "test_square", "grade": true, "points": 2}
assert square(3) == 9, f"the square of 3 is 9, not {square(3)}"
### BEGIN HIDDEN TESTS
assert square(seeded(7)) == math.prod([seeded(7)] * 2), "wrong for another number, in secret"
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade_id": "answer", "solution": true, "grade": true, "points": 3}
# ### BEGIN SOLUTION
# Because the product of two negative numbers is positive.
# ### END SOLUTION
'''
MUTANTS = '''blocked:
- tinygen.evaluate.metrics
tasks:
  square:
    mutants:
    - {what: twice, replace: "x * x", by: "2 * x"}
    - {what: the cube, replace: "x * x", by: "x ** 3"}
    - {what: negative, replace: "x * x", by: "-x * x"}
    - {what: itself, replace: "x * x", by: "x"}
    - {what: nine, replace: "x * x", by: "9"}
    alternatives:
    - what: a power
      code: |
        def square(x):
            return x ** 2
    - what: a loop
      code: |
        def square(x):
            return sum(x for _ in range(x))
    library: |
      import torch
      from tinygen.evaluate import psnr
      def square(x):
          psnr(torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
          return x * x
'''


@pytest.fixture
def public(tmp_path):
    """The folder of a public lab."""
    folder = tmp_path / "public" / "lab97"
    folder.mkdir(parents=True)
    (folder / "lab97.py").write_text(LAB)
    (folder / "mutants.yaml").write_text(MUTANTS)
    return folder


def test_a_variant_is_proved_and_taught(public, tmp_path):
    mine = tmp_path / "mine" / "lab97"
    assert make_variant(public, mine, ["square=second_power"], seed=100) == 14
    text = (mine / "lab97.py").read_text()
    assert "Write `second_power`" in text and "second_power(seeded(107))" in text and "kept = seeded(5)" in text
    assert "squares are never negative" in text and "def square" not in (mine / "mutants.yaml").read_text()
    proof = prove(mine)
    assert proof.problems == [] and (proof.caught, proof.mutants) == (5, 5)
    course = Course.init(tmp_path / "course", mine.parent)
    compare_notebooks(course.source("lab97"), load(mine)[0], fmt="ipynb")


@pytest.mark.parametrize("renames, seed, message", [
    ((), 0, "nothing would change"),
    (("cube=second_power",), 0, "no cube in the lab"),
    (("square=kept",), 0, "a name of the lab already"),
    (("square=second power",), 0, "two names of Python"),
    (("square",), 0, "two names of Python"),
    (("prod=multiply",), 0, "name of a library"),
    (("seeded=lambda",), 0, "two names of Python"),
])
def test_what_cannot_be_a_variant_is_told(public, tmp_path, renames, seed, message):
    with pytest.raises(TinygenError, match=message):
        make_variant(public, tmp_path / "mine", renames, seed)
    assert not (tmp_path / "mine").exists()


def test_seeds_of_tests_only(public):
    text, changed = shift_seeds(LAB, 3)
    assert changed == 2 and text.count("seeded(10)") == 2 and "seeded(5)" in text


def test_the_command(public, tmp_path, capsys):
    options = ["--to", str(tmp_path / "mine"), "--labs", str(public.parent)]
    assert main(["course", "variant", "lab97", *options, "--rename", "square=second_power"]) == 0
    assert "next: python -m tinygen.course.prove lab97" in capsys.readouterr().out
    assert main(["course", "variant", "lab97", *options, "--seed", "1"]) == 2
    assert main(["course", "variant", "lab96", *options, "--seed", "1"]) == 2
    assert "is there already" in (errors := capsys.readouterr().err) and "no lab's source" in errors
