"""Pins, environments, the wheel's content, and nothing that names one machine."""

import functools
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEXT = {".py", ".md", ".toml", ".txt", ".in", ".yml", ".yaml", ".cfg", ".ipynb", ".json", ".sh", ".css", ".html", ""}
# Written in pieces, so that this file may be searched too.
FOREIGN = re.compile("|".join([
    "py" + r"pi\.org", "python" + "hosted", "download" + r"\.pytorch", "npm" + r"js\.org", "debian" + r"\.org/debian",
    "index" + "-url", "index" + "_url", "find" + "-links", "trusted" + "-host",
    r"(?<![\w./~])/(?:root|work|Users/\w+|home/\w+)" + r"/", "/tmp" + "/venv"]))


@functools.cache
def pins() -> dict[str, Requirement]:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if re.match(r"\w", line)]
    return {re.sub(r"[-_.]+", "-", Requirement(line).name.lower()): Requirement(line) for line in lines}


def declared() -> list[Requirement]:
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    return [Requirement(line) for line in PROJECT["dependencies"] + extras]


def repository_files() -> list[Path]:
    """What is, or would be, committed."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True,
                            text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_every_pin_is_exact_and_bears_no_url():
    text = (ROOT / "requirements.txt").read_text()
    assert "://" not in text and not re.search(r"^-", text, re.MULTILINE) and "@" not in text
    assert len(pins()) > 50
    for name, pin in pins().items():
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{name} is not pinned exactly"


def test_the_pins_satisfy_the_project():
    for requirement in declared():
        pin = pins()[requirement.name.lower()]
        version = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"
        lower = {specifier.operator for specifier in requirement.specifier}
        assert lower == {">="}, f"{requirement}: the project gives lower bounds, requirements.txt the pins"


def test_torch_is_pinned_by_hand_and_at_least_2_6():
    lines = (ROOT / "requirements.in").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if re.match(r"\w", line)]
    assert {requirement.name for requirement in wanted} == {"torch", "torchvision"}
    for requirement in wanted:
        assert pins()[requirement.name].specifier == requirement.specifier
    assert "torch>=2.6" in PROJECT["dependencies"]


def test_conda_users_get_everyones_pins():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    [python] = [line for line in dependencies if str(line).startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))
    [pip] = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert pip == ["-r requirements.txt", "-e ."]
    assert {line for line in dependencies if isinstance(line, str)} == {python, "pip"}   # so nothing escapes the pins


def test_no_file_names_a_registry_or_a_folder_of_one_machine():
    found = []
    for path in repository_files():
        if path.suffix in TEXT:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                line = re.sub(r'"image/png": ".*"', "", line)   # base64 may spell anything
                found += [f"{path.relative_to(ROOT)}:{number}: {match.group()}" for match in FOREIGN.finditer(line)]
    assert found == []


def test_foreign_names_would_be_found():
    for line in ("pip install --extra-index" + "-url x", "cd /work" + "/main", "cache in /home" + "/ada/x",
                 "https://download" + ".pytorch.org/whl"):
        assert FOREIGN.search(line), line
    assert not FOREIGN.search("framework/roots and book/home/x")


def test_the_wheel_holds_the_package_and_its_data(tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(ROOT / "tinygen", copy / "tinygen", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("recipes/a-recipe.yaml", "zoo/a-model/model.safetensors", "zoo/a-model/deeper/card.md"):
        (copy / "tinygen" / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / "tinygen" / name).write_text("content")
    build = "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=copy, check=True, capture_output=True,
                   env={**os.environ, "PYTHONPATH": ""})
    [wheel] = tmp_path.glob("tinygen-*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("tinygen/")}
    wanted = {str(path.relative_to(copy)) for path in (copy / "tinygen").rglob("*") if path.is_file()}
    assert {name for name in inside if name in wanted} == wanted
    entry_points = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("entry_points.txt")]
    assert "tinygen = tinygen.cli:main" in zipfile.ZipFile(wheel).read(entry_points[0]).decode()


def test_version_is_said_once():
    assert f'__version__ = "{PROJECT["version"]}"' in (ROOT / "tinygen" / "__init__.py").read_text()


def test_ci_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK) and script.read_text().splitlines()[-1] == "exec make test"


def test_git_ignores_no_source():
    folders = ["tinygen", "tests", "book", "labs", "benchmarks"]
    listed = subprocess.run(["git", "ls-files", "-oi", "--exclude-standard", *folders],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    kept_out = ("__pycache__", ".ipynb_checkpoints", ".egg-info")
    assert [name for name in listed if not any(part in name for part in kept_out)] == []
