"""`tinygen course ...` for instructors, `tinygen lab check` for students: parses, calls, prints."""

import re
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ..errors import TinygenError

course = typer.Typer(no_args_is_help=True, help="A course with graded labs (needs the extra `course`).")
lab = typer.Typer(no_args_is_help=True, help="A student's lab.")
leaderboard = typer.Typer(no_args_is_help=True, help="The capstone's leaderboard: every entry is measured here.")
course.add_typer(leaderboard, name="leaderboard")

Name = Annotated[str, typer.Argument(metavar="LAB", help="lab05, for example.")]
Folder = Annotated[Path, typer.Option("--course", help="The course's folder.")]
Unsafe = Annotated[bool, typer.Option("--unsafe", help="Run student code without a sandbox where there is none.")]
Jobs = Annotated[int, typer.Option(min=1, help="Submissions at a time.")]
Board = Annotated[Path, typer.Option("--board", help="The leaderboard's folder.")]
HERE, BOARD = Path(), Path("leaderboard")


def timed():
    """A `tell` for grading that adds, on a terminal, how long the rest will take."""
    started = time.monotonic()

    def tell(line: str) -> None:
        count = re.match(r"(\d+)/(\d+) ", line)
        if count and sys.stdout.isatty():
            done, total = map(int, count.groups())
            line += f"  ({(time.monotonic() - started) / done * (total - done) / 60:.1f} minutes left)"
        print(line, flush=True)

    return tell


def opened(folder: Path):
    """The course, or one line that says what is missing."""
    try:
        import nbgrader  # noqa: F401
    except ImportError as error:
        raise TinygenError("courses need nbgrader: pip install 'tinygen[course]'") from error
    from ..course.course import Course

    return Course(folder)


@course.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
         labs: Annotated[Path, typer.Option(help="The labs' sources.")] = Path("labs/source"),
         db: Annotated[str | None, typer.Option(help="The grade book's URL; by default an SQLite file.")] = None
         ) -> None:
    """Make a course: folders, nbgrader's settings, the labs with their solutions."""
    from ..course.course import Course

    made = Course.init(folder, labs, db)
    names = sorted((path.name for path in (made.folder / "source").iterdir()), key=lambda name: (name == "capstone", name))
    print(f"{folder}: a course with {len(names)} lab{'s' * (len(names) > 1)} ({', '.join(names)})")
    print(f"next: cd {folder}; tinygen course release {names[0]}")


@course.command()
def release(name: Name, folder: Folder = HERE) -> None:
    """Make what students get, without solutions and hidden tests."""
    place = opened(folder).release(name)
    print(f"{name}: give students release/{name}/ ({', '.join(sorted(path.name for path in place.iterdir()))})")


@course.command()
def collect(name: Name,
            inbox: Annotated[Path, typer.Option("--from", help="A folder with STUDENT.ipynb or STUDENT/*.ipynb.")],
            folder: Folder = HERE) -> None:
    """Take over what students handed in; newer files replace older ones."""
    course = opened(folder)
    new = course.collect(name, inbox)
    print(f"{name}: {len(new)} new or changed, {len(course.submissions(name))} in all")


@course.command()
def grade(name: Name, folder: Folder = HERE, unsafe: Unsafe = False, jobs: Jobs = 2) -> None:
    """Run the tests on what is new or changed, in a sandbox. Killed half-way, a second run completes it."""
    scores = opened(folder).grade(name, unsafe=unsafe, jobs=jobs, tell=timed())
    print(f"{name}: {len(scores)} graded, mean {sum(scores.values()) / len(scores):.1f}")


@course.command()
def regrade(name: Name, folder: Folder = HERE, unsafe: Unsafe = False, jobs: Jobs = 2) -> None:
    """After a test was mended in source/: release again, grade again, say whose points changed."""
    changed = opened(folder).regrade(name, unsafe=unsafe, jobs=jobs, tell=timed())
    for student, (before, after) in changed.items():
        print(f"{student}: {before:g} -> {after:g}")
    print(f"{name}: {len(changed)} changed")


@course.command()
def feedback(name: Name, folder: Folder = HERE) -> None:
    """Make a page for every student: points, messages, your comments; no hidden tests."""
    place = opened(folder).feedback(name)
    print(f"{name}: {len(list(place.glob(f'*/{name}/*.html')))} pages in feedback/")


@course.command()
def export(folder: Folder = HERE, to: Annotated[Path, typer.Option(help="The file.")] = Path("grades.csv")) -> None:
    """Write all grades as CSV."""
    print(f"{to}: {opened(folder).export(to)} rows")


@course.command()
def variant(name: Name, to: Annotated[Path, typer.Option(help="A folder for the labs of your course.")],
            labs: Annotated[Path, typer.Option(help="The labs' sources.")] = Path("labs/source"),
            rename: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help=(
                "Another name for a function or variable; can be given several times."))] = None,
            seed: Annotated[int, typer.Option(min=0, help="Added to every seed in the lab's tests.")] = 0) -> None:
    """Make a lab of your own from a public one: other names, other seeds. Prove it before you teach it."""
    from ..course.variant import make_variant

    changed = make_variant(labs / name, to / name, rename or (), seed)
    print(f"{to / name}: {name}.py and mutants.yaml, {changed} places changed")
    print(f"next: python -m tinygen.course.prove {name} --source {to}; tinygen course init DIR --labs {to}")


@leaderboard.command()
def add(name: Annotated[str, typer.Argument(metavar="NAME", help="The student's.")],
        submission: Annotated[str, typer.Argument(metavar="SUBMISSION", help="Samples (.npz), or a model's folder.")],
        board: Board = BOARD,
        data: Annotated[str | None, typer.Option(help="The image set of a new board (default: shapes).")] = None,
        n: Annotated[int | None, typer.Option(min=10, help="Images an entry, on a new board (default: 1000).")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of a model's samples, and of the measure.")] = 0,
        claim: Annotated[float | None, typer.Option(help="The student's own FD, to be shown beside ours.")] = None,
        baseline: Annotated[bool, typer.Option("--baseline", help="What to beat: zoo:NAME is allowed.")] = False,
        replace: Annotated[bool, typer.Option("--replace", help="In the place of an earlier entry.")] = False) -> None:
    """Check what a student handed in, measure it, and enter it; what is forged or copied is refused."""
    from ..course.leaderboard import Leaderboard

    row = Leaderboard(board).add(name, submission, data, n, seed, claim, baseline, replace)
    claimed = "" if claim is None else f" (claimed: {claim:g})"
    print(f"{name}: FD {row['fd']:.2f}{claimed} with {row['n']} images of {row['data']}; {board}/leaderboard.csv")


@leaderboard.command()
def show(board: Board = BOARD) -> None:
    """Print the leaderboard, best FD first."""
    from ..course.leaderboard import Leaderboard, table

    print(table(Leaderboard(board).rows()))


@lab.command()
def check(notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="Your copy of a lab.")]) -> None:
    """Run all visible tests of a lab, each task for itself, and say what is wrong."""
    from ..course.check import check_notebook

    if sys.stderr.isatty():
        print("running the tests, each task for itself ...", file=sys.stderr)
    results = check_notebook(notebook)
    for name, score in results.items():
        print(f"{'passes' if not score.message else 'fails '} {name} ({score.max_points:g} points)"
              + (f": {score.message}" if score.message else ""))
    passed = sum(not score.message for score in results.values())
    print(f"{passed} of {len(results)} visible tests pass; grading adds hidden ones")
    raise typer.Exit(int(passed < len(results)))
