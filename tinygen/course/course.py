"""An instructor's course: a folder with nbgrader's layout and grade book, driven by `tinygen course ...`.

    source/labNN/       the lab with solutions and hidden tests     submitted/STUDENT/labNN/    what was handed in
    release/labNN/      what students get                           verdicts/labNN/STUDENT.json what the sandbox said
    autograded/, feedback/ and gradebook.db are nbgrader's
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import nbformat

from ..errors import TinygenError, nearest
from .create import SETTINGS, create
from .files import timestamp, write_bytes, write_text
from .judge import Score
from .lab import Lab, answers, read_lab
from .release import find_leaks, make_release
from .sandbox import PACKAGE, choose, judge_submission
from .submission import read_submission
from .worker import Limits


class Course:
    """A course in a folder; TinygenError unless `init` made it."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.settings = self.folder / SETTINGS
        if not self.settings.is_file():
            raise TinygenError(f"{folder} is no course: make one with `tinygen course init {folder}`")

    @classmethod
    def init(cls, folder: Path, labs: Path, url: str | None = None) -> "Course":
        """Make the folders and settings, and copy the labs' notebooks; TinygenError where a course is already."""
        create(folder, labs, url)
        return cls(folder)

    def api(self, **changes: str):
        """nbgrader's interface, with the course's settings and our grader in the place of an unguarded kernel."""
        from nbgrader.apps.api import NbGraderAPI
        from traitlets.config.loader import PyFileConfigLoader

        from . import nbgrader_parts

        config = PyFileConfigLoader(self.settings.name, path=str(self.folder)).load_config()
        nbgrader_parts.configure(config, self.folder)
        for name, value in changes.items():
            config.CourseDirectory[name] = value
        return NbGraderAPI(config=config)

    def source(self, name: str) -> nbformat.NotebookNode:
        """The notebook with solutions of a lab."""
        path = self.folder / "source" / name / f"{name}.ipynb"
        if not path.is_file():
            known = [path.parent.name for path in (self.folder / "source").glob("*/*.ipynb")]
            raise TinygenError(f"the course has no {name}{nearest(name, known)}")
        return nbformat.read(path, as_version=4)

    def release(self, name: str) -> Path:
        """Write what students get, and enter the lab in the grade book; -> the folder."""
        notebook = self.source(name)
        if leaks := find_leaks(notebook, make_release(notebook)):
            raise TinygenError(f"{name} is not released: {leaks[0]}")
        succeed(self.api().generate_assignment(name, force=True, create=True))
        return self.folder / "release" / name

    def collect(self, name: str, inbox: Path) -> list[str]:
        """Take over STUDENT.ipynb, STUDENT_labNN.ipynb or STUDENT/*.ipynb from a folder; -> whose is new or changed."""
        if not inbox.is_dir():
            raise TinygenError(f"{inbox} is no folder")
        self.source(name)
        files = {re.sub(rf"[_-]?{name}$", "", path.stem): path for path in sorted(inbox.glob("*.ipynb"))}
        for path in sorted(inbox.glob("*/*.ipynb")):
            if path.parent.name not in files or path.stem == name:
                files[path.parent.name] = path
        new = []
        for student, path in sorted(files.items()):
            if not re.fullmatch(r"[\w.@-]+", student):
                raise TinygenError(f"{path.name}: a student's name has letters, digits and . _ @ - only")
            place = self.folder / "submitted" / student / name
            content = path.read_bytes()
            if not (place / f"{name}.ipynb").exists() or (place / f"{name}.ipynb").read_bytes() != content:
                place.mkdir(parents=True, exist_ok=True)
                write_text(place / "timestamp.txt", timestamp(path))
                write_bytes(place / f"{name}.ipynb", content)
                new.append(student)
        return new

    def submissions(self, name: str) -> dict[str, Path]:
        """{student: the file that was handed in}."""
        found = sorted((self.folder / "submitted").glob(f"*/{name}"))
        files = {path.parent.name: path / f"{name}.ipynb" for path in found}
        for student, path in files.items():             # a renamed file counts, if it is the only one
            others = sorted(path.parent.glob("*.ipynb"))
            if not path.exists() and len(others) == 1:
                files[student] = others[0]
        return files

    def grade(self, name: str, unsafe: bool = False, jobs: int = 2, limits: Limits = Limits(),
              tell: Callable[[str], None] = print) -> dict[str, float]:
        """Grade every submission that is new or changed, or was graded by other tests; -> {student: points of tests}.

        Killed at any moment it is completed by a second run: a verdict is written whole or not at all, and a student
        counts as graded only after the grade book has the grade.
        """
        notebook = self.source(name)
        lab, release = read_lab(notebook, name), make_release(notebook)
        files = self.submissions(name)
        if not files:
            raise TinygenError(f"nobody has handed in {name}: collect first")
        front = choose([self.folder, PACKAGE.parent / "labs"], unsafe)
        if not (self.folder / "release" / name / f"{name}.ipynb").exists():
            self.release(name)
        tests = json.dumps([lab.as_data(), asdict(limits)], sort_keys=True)
        keys = {student: hashlib.sha256(tests.encode() + (path.read_bytes() if path.exists() else b"")).hexdigest()
                for student, path in files.items()}
        todo = [student for student in files if self.graded(name, student) != keys[student]]
        tell(f"{name}: {len(files)} submissions, {len(files) - len(todo)} graded before")
        api = self.api(submitted_directory="staged")
        total = sum(task.points for task in lab.tasks)
        judged = self.judged(lab, release, files, keys, todo, front, jobs, limits)
        for done, (student, clean, scores) in enumerate(judged, 1):
            staged = self.folder / "staged" / student / name
            staged.mkdir(parents=True, exist_ok=True)
            nbformat.write(clean, staged / f"{name}.ipynb")
            stamp = files[student].with_name("timestamp.txt")
            if stamp.exists():
                shutil.copy(stamp, staged)
            succeed(api.autograde(name, student, force=True, create=True))
            shutil.rmtree(self.folder / "staged" / student)
            write_text(self.verdict(name, student).with_suffix(".done"), keys[student])
            points = sum(score.points for score in scores.values())
            tell(f"{done}/{len(todo)} {student}: {points:g} of {total:g}")
        return {student: self.points(name, student) for student in files}

    def judged(self, lab: Lab, release, files: dict, keys: dict, todo: list[str], front: list[str], jobs: int,
               limits: Limits) -> Iterator[tuple[str, nbformat.NotebookNode, dict[str, Score]]]:
        """(student, clean notebook, scores) of each, as sandboxes finish; verdicts that are there are kept."""
        def one(student: str) -> tuple[str, nbformat.NotebookNode, dict[str, Score]]:
            clean, place = read_submission(files[student], release), self.verdict(lab.name, student)
            old = json.loads(place.read_text()) if place.exists() else {}
            if old.get("key") == keys[student]:
                return student, clean, {test: Score(**score) for test, score in old["scores"].items()}
            scores = judge_submission(lab, answers(clean, lab), front, limits)
            place.parent.mkdir(parents=True, exist_ok=True)
            data = {test: asdict(score) for test, score in scores.items()}
            write_text(place, json.dumps({"key": keys[student], "scores": data}, indent=1))
            return student, clean, scores

        with ThreadPoolExecutor(jobs) as pool:
            waiting = [pool.submit(one, student) for student in todo]
            try:
                for future in as_completed(waiting):
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def verdict(self, name: str, student: str) -> Path:
        """Where the sandbox's verdict is kept."""
        return self.folder / "verdicts" / name / f"{student}.json"

    def points(self, name: str, student: str) -> float:
        """What the tests gave."""
        return sum(score["points"] for score in json.loads(self.verdict(name, student).read_text())["scores"].values())

    def graded(self, name: str, student: str) -> str:
        """The key of what the grade book has, or ""."""
        done = self.verdict(name, student).with_suffix(".done")
        return done.read_text() if done.exists() else ""

    def regrade(self, name: str, **options) -> dict[str, tuple[float, float]]:
        """After a test was mended: release and grade again; -> {student: (before, after)} where the points changed."""
        before = {student: self.points(name, student) for student in self.submissions(name)
                  if self.verdict(name, student).exists()}
        self.release(name)
        after = self.grade(name, **options)
        return {student: (points, after[student]) for student, points in before.items() if points != after[student]}

    def feedback(self, name: str) -> Path:
        """An HTML page for every student, without hidden tests; -> the folder."""
        succeed(self.api().generate_feedback(name, force=True))
        return self.folder / "feedback"

    def export(self, to: Path) -> int:
        """The grades as CSV; -> the number of its rows."""
        from nbgrader.plugins import CsvExportPlugin

        with self.api().gradebook as gradebook:
            exporter = CsvExportPlugin()
            exporter.to = str(to)
            exporter.export(gradebook)
        return len(to.read_text().splitlines()) - 1


def succeed(result: dict) -> None:
    """TinygenError with nbgrader's own last words where it failed."""
    if not result["success"]:
        words = [line for line in (result.get("error") or result.get("log") or "").splitlines() if line.strip()]
        raise TinygenError(f"nbgrader failed: {words[-1] if words else 'without a reason'}")
