"""Labelled equations are found in every notation, and a missing, late, empty or hollow check is noticed."""

import registry
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

EQUATION = "$$\na = b\n$$ (eq-one)"
CHECK = 'check("eq-one", 1.0, x)'


def chapter(*cells):
    """Strings are Markdown; pairs are (source, printed text) of executed code."""
    made = []
    for cell in cells:
        if isinstance(cell, str):
            made.append(new_markdown_cell(cell))
        else:
            source, printed = cell
            output = new_output("stream", text=printed)
            made.append(new_code_cell(source, execution_count=len(made) + 1, outputs=[output]))
    return new_notebook(cells=made)


def problems(*cells):
    return registry.problems({"01-test": chapter(*cells)})


def holds(label):
    return f"{label} holds: two routes agree to 1e-06\n"


def test_labels_are_found_in_every_notation():
    markdown = """Text with `check`, (eq-not-a-label) and $x$ (eq-neither).

$$
x
$$ (eq-dollars-block)

$$y$$ (eq-dollars-line)

```{math}
:label: eq-directive-name
z
```

:::{math}
:label: eq-colons
z
:::

(eq-target)=
$$z$$

```{figure} x.png
:label: eq-of-a-figure
```
"""
    assert registry.labels(markdown) == ["eq-dollars-block", "eq-dollars-line", "eq-directive-name", "eq-colons",
                                         "eq-target"]


def test_a_checked_equation_is_in_order():
    cells = [EQUATION, (CHECK, "noise\n" + holds("eq-one"))]
    assert problems(*cells) == []
    [row] = registry.equations(chapter(*cells), "01-test")
    assert (row.label, row.cell, row.check, row.holds) == ("eq-one", 0, 1, True)


def test_two_equations_may_share_a_cell_and_its_checks():
    both = EQUATION + "\n\n$$c$$ (eq-two)"
    checks = CHECK + '\nfrom tinygen import checks\nchecks.check_monte_carlo("eq-two", s, 0.5)'
    assert problems(both, (checks, holds("eq-one") + "eq-two holds: the mean of 100 samples\n")) == []


def test_a_label_without_a_check():
    assert problems(EQUATION, ("print(1)", "1\n")) == ["01-test eq-one has no check before the next labelled equation"]
    assert problems(EQUATION, ('print("eq-one holds: ")', holds("eq-one"))) != []
    assert problems(EQUATION, ('# check("eq-one", 1, x)', holds("eq-one"))) != []


def test_a_check_that_comes_too_early_or_too_late():
    early = [("check('eq-one', 1.0, x)", holds("eq-one")), EQUATION]
    assert problems(*early) == ["01-test eq-one has no check before the next labelled equation"]
    late = [EQUATION, "$$c$$ (eq-two)", (CHECK + '\ncheck("eq-two", 1, y)', holds("eq-one") + holds("eq-two"))]
    assert problems(*late) == ["01-test eq-one has no check before the next labelled equation"]


def test_a_check_that_never_said_it_holds():
    expected = ["01-test eq-one has a check in cell 1 whose output does not say that it holds"]
    assert problems(EQUATION, (CHECK, "")) == expected
    assert problems(EQUATION, (CHECK, holds("eq-other"))) == expected
    unexecuted = chapter(EQUATION, (CHECK, holds("eq-one")))
    unexecuted.cells[1].execution_count = None
    assert registry.problems({"01-test": unexecuted}) == expected


def test_a_check_that_compares_a_thing_with_itself():
    for hollow in ('check("eq-one", f(x), f( x ))', 'check("eq-one", a=x, b=x)', 'c.check("eq-one", x, x, tol=1e-3)'):
        assert problems(EQUATION, (hollow, holds("eq-one"))) == ["01-test cell 1 compares eq-one with itself"]


def test_a_check_that_nbval_would_not_compare():
    for tag in ("nbval-skip", "nbval-ignore-output", "raises-exception"):
        notebook = chapter(EQUATION, (CHECK, holds("eq-one")))
        notebook.cells[1].metadata["tags"] = [tag]
        assert registry.problems({"01-test": notebook}) == [
            "01-test cell 1 checks eq-one, but nbval would not notice a failure"]


def test_labels_are_unique_well_formed_and_known():
    good = chapter(EQUATION, (CHECK, holds("eq-one")))
    assert registry.problems({"01-a": good, "02-b": good}) == ["02-b eq-one is labelled twice in the book"]
    assert "is no label of the form" in problems("$$a$$ (elbo)", ("1", ""))[0]
    assert problems(("check('eq-ghost', 1.0, x)", holds("eq-ghost"))) == [
        "01-test cell 0 checks eq-ghost, which labels no equation"]
    assert r"uses \label" in problems(r"\begin{equation}\label{eq:one} a \end{equation}")[0]


def test_cells_with_magics_are_read():
    assert problems(EQUATION, ("%matplotlib inline\n" + CHECK, holds("eq-one"))) == []
