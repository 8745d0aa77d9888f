"""The layout that tinygen/README.md promises: dependencies point one way, files are short, names are documented."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tinygen"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

# part -> how high it stands: a part imports from its own height and from below
HEIGHTS = {"errors": 0,
           "nn": 1, "data": 1, "checks": 1, "features": 1,
           "autoencoder": 2, "gan": 2, "vq": 2, "diffusion": 2,
           "models": 3, "show": 3, "latent": 3, "train": 3, "evaluate": 3,
           "demo": 4, "publish": 4, "course": 4,
           "cli": 5,
           "__main__": 6}


def part(module: str) -> str:
    """"tinygen.vq.usage" -> "vq"."""
    return (module.split(".") + [""])[1]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path, nodes) -> set[str]:
    """The tinygen modules that the import statements among `nodes` name."""
    found = set()
    package = module_name(path).split(".")[:None if path.name == "__init__.py" else -1]
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            base = ".".join(base + ([node.module] if node.module else []))
            names = [f"{base}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else base for name in names}
    return {name for name in found if name.split(".")[0] == "tinygen"}


MODULES = {module_name(path) for path in FILES}
ANYWHERE = {path: imported(path, ast.walk(tree)) for path, tree in TREES.items()}           # functions that import, too
AT_THE_TOP = {module_name(path): imported(path, tree.body) for path, tree in TREES.items()}


def test_every_part_has_its_place():
    assert {part(module) for module in MODULES} - {""} <= set(HEIGHTS)


def test_dependencies_point_one_way():
    wrong = [f"{module_name(path)} imports {name}" for path, names in ANYWHERE.items() for name in names
             if part(name) and part(module_name(path)) and HEIGHTS[part(name)] > HEIGHTS[part(module_name(path))]]
    assert not wrong


def circle(graph: dict[str, set[str]]) -> list[str]:
    """What is left of a graph when nodes without successors are taken away, again and again: [] if it has no cycle."""
    graph = {node: {n for n in following if n in graph and n != node} for node, following in graph.items()}
    while free := [node for node, following in graph.items() if not following]:
        graph = {node: following - set(free) for node, following in graph.items() if node not in free}
    return sorted(graph)


def test_circles_are_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_no_import_cycles():
    parts: dict[str, set[str]] = {}
    for path, names in ANYWHERE.items():
        parts.setdefault(part(module_name(path)), set()).update(map(part, names))
    assert circle({name: following - {""} for name, following in parts.items() if name}) == []
    packages = {module_name(path) for path in FILES if path.name == "__init__.py"}
    inside = {name: names - packages for name, names in AT_THE_TOP.items()}             # a package's index is no module
    assert circle(inside) == []


def test_import_is_quick_because_torch_waits():
    code = "import sys, tinygen; assert tinygen.__version__; assert not {'torch', 'numpy', 'typer'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_files_are_short():
    assert FILES
    assert {str(path): length for path in FILES if (length := len(path.read_text().splitlines())) > 250} == {}


FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def forbidden(tree: ast.AST) -> list[str]:
    """What runs code out of data: pickles, torch.load without weights_only, numpy's allow_pickle, eval and exec."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name in ("eval", "exec", "compile", "__import__") or options.get("allow_pickle", "False") != "False":
                found.append(name)
            if name == "torch.load" and options.get("weights_only") != "True" or name == "torch.save":
                found.append(name)
    return found


@pytest.mark.parametrize("code", [
    "import pickle", "from joblib import load", "eval('1')", "exec(x)", "torch.load(f)", "torch.save(x, f)",
    "np.load(f, allow_pickle=True)", "torch.load(f, weights_only=False)", "__import__(x)"])
def test_the_search_for_pickles_finds_them(code):
    assert forbidden(ast.parse(code))


def test_data_is_never_run():
    assert forbidden(ast.parse("model.eval(); re.compile(x); torch.load(f, weights_only=True); np.load(f)")) == []
    assert {str(path): found for path, tree in TREES.items() if (found := forbidden(tree))} == {}


def test_modules_say_what_they_are():
    assert [str(path) for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


@pytest.mark.parametrize("name", sorted(name for name in MODULES - {"tinygen.__main__"} if name.count(".") == 1))
def test_public_names_are_documented(name):
    """What a part exports, functions and classes, and their public methods (which may inherit their description)."""
    module = importlib.import_module(name)
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == name and key[0] != "_"]
    nameless = []
    for key in getattr(module, "__all__", own):
        value = getattr(module, key)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        # a NamedTuple or dataclass without a docstring is given its signature as one
        if not inspect.getdoc(value) or inspect.getdoc(value).startswith(f"{key}("):
            nameless.append(key)
        for method, function in vars(value).items() if inspect.isclass(value) else ():
            if method[0] != "_" and inspect.isfunction(function) and not inspect.getdoc(getattr(value, method)):
                nameless.append(f"{key}.{method}")
    assert nameless == []
