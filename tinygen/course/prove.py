"""The graders proved: `python -m tinygen.course.prove lab07 ...` (none: every lab) prints a table and what is wrong.

For each lab: the reference gets full marks; the untouched release gets nothing, and holds neither a solution nor a
hidden test; other correct solutions get full marks; every mutant loses the points of its task (and no others: a task is
judged with the reference's answers to the rest); the library's own answer is refused; hostile submissions get nothing.
"""

import argparse
import functools
import multiprocessing
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import yaml

from ..errors import TinygenError
from .hostile import HOSTILE, hostile
from .lab import Cell, Lab, answers, read_lab, read_source
from .release import find_leaks, make_release
from .worker import Limits, judge_apart, prepare

MUTANTS, ALTERNATIVES = 5, 2                            # the least a task must have
CRASH = re.compile(r"(^|; )\w+: \w*(Error|Exit|Exception|Interrupt)\b")      # in place of a test's own message
TASK_KEYS = {"mutants", "alternatives", "library"}


@dataclass
class Proof:
    """What was planted and what was caught; `problems` is empty for a proved lab."""

    lab: str
    tasks: int = 0
    alternatives: int = 0
    mutants: int = 0
    caught: int = 0
    hostile: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def read_mutants(path: Path, lab: Lab) -> dict:
    """The checked content of a mutants.yaml: {"blocked": [...], "tasks": {task: {mutants, alternatives, library}}}."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    wrong = set(data) - {"blocked", "tasks"} or set(data["tasks"]) ^ {task.name for task in lab.tasks}
    if wrong:
        raise TinygenError(f"{path.name} of {lab.name}: has, or lacks, {', '.join(sorted(wrong))}; it has `blocked`, "
                           f"and `tasks` with {', '.join(task.name for task in lab.tasks)}")
    for name, plan in data["tasks"].items():
        if set(plan) - TASK_KEYS:
            raise TinygenError(f"{path.name} of {lab.name}: {name} knows {', '.join(sorted(TASK_KEYS))}")
    return data


def load(folder: Path) -> tuple[nbformat.NotebookNode, Lab, dict]:
    """The notebook, the lab and the plans of labs/source/labNN."""
    name = folder.name
    notebook = read_source(folder / f"{name}.py")
    plans = read_mutants(folder / "mutants.yaml", read_lab(notebook, name))
    notebook.metadata["tinygen"] = nbformat.from_dict({"lab": name, "blocked": plans.get("blocked") or []})
    return notebook, read_lab(notebook, name), plans["tasks"]


def mutate(task: Cell, mutant: dict) -> str:
    """The task's solution with a bug; TinygenError unless the text to replace is there exactly once."""
    if (times := task.source.count(mutant["replace"])) != 1:
        raise TinygenError(f"{task.name}: {mutant['replace']!r} appears {times} times in the solution, not once")
    return task.source.replace(mutant["replace"], mutant["by"])


def prove(folder: Path, quick: bool = False, only: str | None = None, limits: Limits = Limits()) -> Proof:
    """Prove one lab; quick: one mutant and one alternative a task, three attacks. only: one task, told aloud."""
    start, (notebook, lab, plans) = time.perf_counter(), load(folder)
    proof, release = Proof(lab.name, tasks=len(lab.tasks)), make_release(notebook)
    proof.problems += find_leaks(notebook, release)
    untouched = answers(release, lab)
    attacks = list(HOSTILE)[:3] if quick else list(HOSTILE)
    for place, (task, base) in enumerate(prepare(lab)):
        if only not in (None, task.name):
            continue

        def tell(what: str, task: Cell = task) -> None:
            proof.problems.append(f"{task.name}: {what}")

        def score(source: str | None, task: Cell = task, base=base, limits: Limits = limits) -> tuple[float, str]:
            results = judge_apart(task, source, base, lab, limits)
            points = sum(result.points for result in results.values())
            message = "; ".join(f"{name}: {result.message}" for name, result in results.items() if result.message)
            if only:
                print(f"{points:g} of {task.points:g}  {message}", flush=True)
            return points, message

        plan = plans[task.name]
        mutants, alternatives = plan.get("mutants", []), plan.get("alternatives", [])
        if len(mutants) < MUTANTS or len(alternatives) < ALTERNATIVES:
            tell(f"has {len(mutants)} mutants and {len(alternatives)} alternatives, needs {MUTANTS} and {ALTERNATIVES}")
        points, message = score(task.source)
        if points != task.points:
            tell(f"the reference gets {points:g} of {task.points:g}: {message}")
        points, _ = score(untouched.get(task.name))
        if points:
            tell(f"the untouched release gets {points:g} points")
        for other in alternatives[:1] if quick else alternatives:
            proof.alternatives += 1
            points, message = score(other["code"])
            if points != task.points:
                tell(f"a correct solution ({other['what']}) gets {points:g} of {task.points:g}: {message}")
        for mutant in mutants[:1] if quick else mutants:
            proof.mutants += 1
            points, message = score(mutate(task, mutant))
            wanted = mutant.get("keeps", 0)
            if points == wanted:
                proof.caught += 1
            else:
                tell(f"the mutant ({mutant['what']}) gets {points:g}, not {wanted:g}")
            if CRASH.search(message) and not mutant.get("raises"):
                tell(f"the mutant ({mutant['what']}) is not told what is wrong: {message}")
        if "library" in plan:
            points, message = score(plan["library"])
            if points or "not allowed" not in message:
                tell(f"the library's own solution gets {points:g} points: {message}")
        for kind in attacks if only else attacks[place::len(lab.tasks)]:                # every kind meets one task
            proof.hostile += 1
            points, _ = score(hostile(kind, task), limits=Limits(seconds=1, megabytes=1024))
            if points:
                tell(f"the hostile submission ({kind}) gets {points:g} points")
    if not any("library" in plan for plan in plans.values()):
        proof.problems.append("no task has a `library` answer: say in mutants.yaml how the library would solve one")
    proof.seconds = time.perf_counter() - start
    return proof


def table(proofs: list[Proof]) -> str:
    """A line a lab."""
    lines = [f"{'lab':10} {'tasks':>5} {'alternatives':>12} {'mutants':>7} {'caught':>6} {'hostile':>7} {'seconds':>7}"]
    lines += [f"{proof.lab:10} {proof.tasks:5} {proof.alternatives:12} {proof.mutants:7} {proof.caught:6} "
              f"{proof.hostile:7} {proof.seconds:7.1f}" for proof in proofs]
    return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Prove the graders of labs.")
    parser.add_argument("labs", nargs="*", help="lab07 ...; all by default")
    parser.add_argument("--source", type=Path, default=Path("labs/source"), help="the folder of the labs' sources")
    parser.add_argument("--task", help="one task only, every judgement shown")
    parser.add_argument("--quick", action="store_true", help="one mutant and one alternative a task")
    parser.add_argument("--jobs", type=int, default=2, help="labs at a time")
    arguments = parser.parse_args()
    names = arguments.labs or sorted(path.parent.name for path in arguments.source.glob("*/mutants.yaml"))
    one = functools.partial(prove, quick=arguments.quick, only=arguments.task)
    fresh = multiprocessing.get_context("spawn")        # no lab sees what another one loaded
    try:
        with ProcessPoolExecutor(max(1, min(arguments.jobs, len(names))), mp_context=fresh) as pool:
            proofs = list(pool.map(one, [arguments.source / name for name in names]))
    except (TinygenError, FileNotFoundError) as error:
        print(f"prove: {error}", file=sys.stderr)
        return 2
    print(table(proofs))
    problems = [f"{proof.lab}: {problem}" for proof in proofs for problem in proof.problems]
    print("\n".join(problems) if problems else "all proved")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
