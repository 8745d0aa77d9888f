"""`tinygen doctor`: every condition it knows, brought about, and the cure it names."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tinygen import models as tinygen_models
from tinygen.cli import doctor
from tinygen.errors import TinygenError


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(doctor, "reachable", lambda address, seconds=5.0: "Name or service not known")


def test_doctor_is_content_or_says_what_to_do(run, models, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "reachable", lambda address: "")
    monkeypatch.setattr(doctor, "memory", lambda: 4e9)
    monkeypatch.setattr(doctor, "ROOM", 0)
    monkeypatch.setattr(doctor, "NOTEBOOK_TOOLS", ("json",))
    monkeypatch.setattr(tinygen_models, "ZOO", models)
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    result = run("doctor")
    assert (result.code, result.out.splitlines()[-1]) == (0, "all good"), result.out
    for what in ("python", "torch", "device", "precision", "threads", "data cifar10", "zoo", "disk", "notebook tools"):
        assert f"ok  {what}" in result.out
    assert "tinygen data cifar10" in result.out and f"{len(list(models.iterdir()))} models, whole" in result.out

    damaged = tmp_path / "zoo" / "broken"
    damaged.mkdir(parents=True)
    (damaged / "model.json").write_text("{}")
    (tmp_path / "cifar10.safetensors").write_bytes(b"")
    monkeypatch.setattr(tinygen_models, "ZOO", damaged.parent)
    monkeypatch.setattr(doctor, "NOTEBOOK_TOOLS", ("json", "no_such_tool"))
    monkeypatch.setattr(doctor, "ROOM", 1e18)
    monkeypatch.setenv("TINYGEN_TIER", "tpu")
    result = run("doctor")
    assert result.code == 1 and "all good" not in result.out and "cifar10.safetensors" in result.out
    cures = result.out.split("to do:\n")[1]
    for cure in ("git checkout tinygen/zoo", "pip install no-such-tool", "free some space", "TINYGEN_TIER"):
        assert cure in cures


def test_what_is_only_useful_is_no_failure(run, models, tmp_path, monkeypatch, no_network):
    monkeypatch.setattr(tinygen_models, "ZOO", models)
    monkeypatch.setattr(doctor, "ROOM", 0)
    monkeypatch.setattr(doctor, "memory", lambda: 4e9)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    result = run("doctor")
    assert result.code == 0 and result.out.endswith("all good\n")
    for line in (" !  make            missing", " !  chromium        missing",
                 " !  data cifar10    not here, and no network (Name or service not known)"):
        assert line in result.out
    wanted = result.out.split("where you want it:\n")[1]
    assert "sudo apt install make" in wanted and "HTTPS_PROXY" in wanted and str(tmp_path) in wanted


def test_without_torch_the_rest_is_still_looked_at(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = run("doctor")
    assert result.code == 1 and "torch: run `make setup`" in result.out and "disk, here" in result.out
    assert "zoo" not in result.out.partition("to do:")[0]


@pytest.mark.parametrize(("version", "cure"), [((3, 10, 2), "Python 3.11 or newer"), ((2, 7, 18), "PYTHON=python3.12"),
                                               ((3, 11, 0), ""), ((3, 14, 0), "")])
def test_python(version, cure):
    finding = doctor.examine_python(version)
    assert finding.found == ".".join(map(str, version)) and cure in finding.cure and bool(cure) == bool(finding.cure)


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """broken(code): a package `torchvision` that does this when it is imported."""
    def make(code):
        (tmp_path / "torchvision.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    return make


@pytest.mark.parametrize(("code", "found"), [
    ("raise RuntimeError('operator torchvision::nms does not exist')", "does not start: operator torchvision::nms"),
    ("raise OSError('libcudart.so.12: cannot open shared object file')", "libcudart.so.12"),
    ("import no_such_part", "does not start: No module named 'no_such_part'"),
    ("__version__ = '0.28.0+cpu'", "0.28.0+cpu")])
def test_torchvision(broken, code, found):
    broken(code)
    _, finding = doctor.examine_import("torchvision")
    sys.modules.pop("torchvision", None)
    assert found in finding.found and ("both, so that they fit" in finding.cure) == code.startswith(("raise", "import"))


def test_an_old_and_a_missing_torch(monkeypatch):
    old = ModuleType("torch")
    old.__version__ = "2.5.1+cu121"
    monkeypatch.setitem(sys.modules, "torch", old)
    assert "install torch 2.6 or newer" in doctor.examine_import("torch", (2, 6))[1].cure
    old.__version__ = "2.13.0a0+git1234"
    assert doctor.examine_import("torch", (2, 6))[1].cure == ""
    module, finding = doctor.examine_import("no_such_torch")
    assert module is None and finding.found == "not installed" and "make setup" in finding.cure


@pytest.mark.parametrize(("device", "nvidia", "cuda", "cure"), [
    ("cpu", False, None, ""), ("cuda:0 (T4)", True, "13.0", ""), ("mps", False, None, ""),
    ("cpu", True, None, "without CUDA: uv pip install torch torchvision --torch-backend=auto"),
    ("cpu", True, "13.0", "for CUDA 13.0) cannot use it: look at `nvidia-smi`, update the driver")])
def test_an_nvidia_gpu_that_torch_does_not_use(device, nvidia, cuda, cure):
    finding = doctor.examine_device(device, nvidia, cuda)
    assert cure in finding.cure and bool(cure) == bool(finding.cure) and not finding.needed


def test_an_nvidia_gpu_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "NVIDIA", (str(tmp_path / "version"),))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert not doctor.nvidia_is_here()
    (tmp_path / "version").touch()
    assert doctor.nvidia_is_here()


def test_a_gpu_without_kernels_is_a_finding_among_others(monkeypatch):
    def refuse(wanted=None):
        raise TinygenError("torch 2.13 cannot compute on cuda (no kernel image): use --device cpu")

    monkeypatch.setattr("tinygen.train.choose_device", refuse)
    monkeypatch.setattr(doctor, "reachable", lambda address: "unplugged")
    findings = {finding.what: finding for finding in doctor.examine()}
    assert "use --device cpu" in findings["device"].cure and not findings["device"].needed
    assert findings["tier"].found == "cpu" and "zoo" in findings


def test_memory():
    assert "4 GB" in doctor.examine_memory(2e9).cure and doctor.examine_memory(2e9).found == "2.0 GB"
    assert doctor.examine_memory(8e9).cure == "" and doctor.examine_memory(float("inf")).found == "unknown"
    assert doctor.memory() > 1e8


def test_the_network_is_asked_only_where_cifar10_is_missing(tmp_path, monkeypatch):
    def never(address):
        raise AssertionError("asked")

    def silent(address):
        return "timed out"

    assert doctor.examine_cifar10(tmp_path / "x", tmp_path, never) == ("data cifar10", str(tmp_path / "x"), "", True)
    assert "fetches it" in doctor.examine_cifar10(None, tmp_path, lambda address: "").found
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert "export HTTPS_PROXY" in doctor.examine_cifar10(None, tmp_path, silent).cure
    monkeypatch.setenv("https_proxy", "http://name:secret@proxy:3128")
    finding = doctor.examine_cifar10(None, tmp_path, silent)
    assert "the proxy that https_proxy names" in finding.cure and "secret" not in str(finding)


def test_a_server_that_answers_and_one_that_does_not():
    assert "refused" in doctor.reachable("http://127.0.0.1:9/", 2.0) and doctor.reachable("nonsense", 2.0)


def test_a_disk_that_is_full_or_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "ROOM", 1e18)
    assert "TINYGEN_DATA" in doctor.examine_disk("disk, data", tmp_path).cure
    assert "TINYGEN_DATA" not in doctor.examine_disk("disk, here", tmp_path).cure
    assert "writable" in doctor.examine_disk("disk, here", Path("/proc/nowhere")).cure


def test_python_m_tinygen_without_packages_names_the_cure(tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('x', name='typer')")
    done = subprocess.run([sys.executable, "-m", "tinygen", "doctor"], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1 and done.stderr.startswith("tinygen: typer is not installed: run `make setup`")
