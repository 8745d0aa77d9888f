"""A good notebook passes every rule, and each rule notices its own corruption."""

import nbformat
import pytest
import rules


def change(path, edit):
    """Read the notebook at `path`, let `edit` change it, write it back."""
    notebook = nbformat.read(path, as_version=4)
    edit(notebook)
    nbformat.write(notebook, path)
    return notebook


def code(notebook, index):
    return rules.code_cells(notebook)[index]


def test_a_good_book_has_no_problem(book):
    assert rules.problems(book) == []


@pytest.mark.parametrize("old, new", [
    ("b ** 2)", "b ** 3)"), ("Some text", "Other text"), ("[nbval-check-output]", "[nbval-skip]"),
    (":tags: [nbval-check-output]\n\n", ""), ("# Squares\n", "# Squares\n\n+++\n"),
    ("\n```{code-cell} ipython3\nprint(\"still here\")\n```\n", ""),
])
def test_a_source_that_changed_since(book, old, new):
    source = book / "01-squares.md"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))
    assert any("differs from 01-squares.md" in problem for problem in rules.problems(book))


def test_a_notebook_that_changed_alone(book):
    path = book / "01-squares.ipynb"
    change(path, lambda notebook: code(notebook, 3).update(source="print('not in the source')"))
    [problem] = rules.pairing(path)
    assert "differs from 01-squares.md" in problem


@pytest.mark.parametrize("gone", ["01-squares.ipynb", "01-squares.md"])
def test_half_a_pair(book, gone):
    (book / gone).unlink()
    assert f"01-squares.ipynb {gone} is missing beside its pair" in rules.problems(book)


def test_a_cell_that_was_never_executed(book):
    notebook = change(book / "01-squares.ipynb", lambda nb: code(nb, 3).update(execution_count=None, outputs=[]))
    assert rules.execution(notebook) == ["code cell 4 (print(\"still here\")) has execution count None, not 4"]


def test_cells_executed_out_of_order(book):
    def swap(notebook):
        code(notebook, 0).execution_count, code(notebook, 1).execution_count = 2, 1

    assert len(rules.execution(change(book / "01-squares.ipynb", swap))) == 2


def test_an_error_nobody_asked_for(book):
    notebook = change(book / "01-squares.ipynb", lambda nb: code(nb, 2).metadata.pop("tags"))
    assert rules.execution(notebook) == ['code cell 3 (raise ValueError("on purpose")) ended with ValueError']


def test_an_expected_error_that_did_not_come(book):
    notebook = change(book / "01-squares.ipynb", lambda nb: code(nb, 2).update(outputs=[]))
    assert rules.execution(notebook) == [
        'code cell 3 (raise ValueError("on purpose")) is tagged raises-exception but raised nothing']


@pytest.mark.parametrize("folder", ["/home" + "/ada/book", "/Users" + "/ada", "C:\\" + "Users\\ada", "/work" + "/x",
                                    "/root" + "/.cache", "/tmp" + "/tmpabc"])
def test_a_folder_of_one_machine(book, folder):
    def say(notebook):
        code(notebook, 3).outputs = [nbformat.v4.new_output("stream", text=f"saved to {folder}\n")]

    notebook = change(book / "01-squares.ipynb", say)
    assert len(rules.portability(notebook)) == 1 and "names a folder of one machine" in rules.portability(notebook)[0]


@pytest.mark.parametrize("text", ["and/or/work", "../work/x", "example.org/home/page", "~/tmp/x", "p/q"])
def test_what_only_looks_like_a_folder(book, text):
    def say(notebook):
        code(notebook, 3).outputs = [nbformat.v4.new_output("stream", text=text)]

    assert rules.portability(change(book / "01-squares.ipynb", say)) == []


def test_a_kernel_of_ones_own(book):
    notebook = change(book / "01-squares.ipynb", lambda nb: nb.metadata.kernelspec.update(name="ada"))
    assert rules.portability(notebook) == ["has the kernel 'ada', not 'python3'"]


def test_a_notebook_too_large_to_commit(book):
    path = book / "01-squares.ipynb"
    assert rules.size(path) == []
    path.write_bytes(path.read_bytes() + b" " * 700_000)
    [problem] = rules.size(path)
    assert "more than 700,000" in problem


@pytest.mark.parametrize("ignore", [
    lambda cell: cell.metadata.update(tags=["nbval-ignore-output"]),
    lambda cell: cell.metadata.update(tags=["nbval-skip"]),
    lambda cell: cell.update(source="# NBVAL_IGNORE_OUTPUT\n" + cell.source),
    lambda cell: cell.update(source="# NBVAL_SKIP\n" + cell.source),
])
def test_too_many_cells_that_are_not_compared(book, ignore):
    path = book / "01-squares.ipynb"
    one = change(path, lambda nb: ignore(code(nb, 3)))
    assert rules.compared_share([one]) == []                   # one in four
    two = change(path, lambda nb: ignore(code(nb, 1)))
    assert rules.compared_share([two]) == ["2 of 4 code cells are not compared by nbval, more than 25%"]
