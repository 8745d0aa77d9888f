"""The capstone's leaderboard: what is right is measured, what is forged, copied or malformed is refused with one line."""

import csv
import io
import shutil
import zipfile

import numpy as np
import pytest
import torch

import tinygen.course.leaderboard as module
import tinygen.evaluate.report as report_module
from tinygen.cli import main
from tinygen.course.leaderboard import Leaderboard, Recorded, images_sha256, repeated
from tinygen.data import load, to_uint8
from tinygen.errors import TinygenError
from tinygen.models import ZOO
from tinygen.show import to_hwc

N = 40


@pytest.fixture(scope="module")
def sets():
    """A few real images of every split."""
    return {f"shapes:{split}": load(f"shapes:{split}").subset(range(200)) for split in ("train", "test", "heldout")}


@pytest.fixture
def board(sets, tmp_path, monkeypatch):
    """An empty board, on a small image set."""
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "data"))
    for user in (module, report_module):
        monkeypatch.setattr(user, "load", lambda name, **_: sets[name if ":" in name else f"{name}:train"])
    return Leaderboard(tmp_path / "leaderboard")


@pytest.fixture
def drawn(sets):
    """Images that are like the data and are none of them: two halves of different ones."""
    images = sets["shapes:train"].images
    return torch.cat([images[:N, :, :, :16], images[N:2 * N, :, :, 16:]], dim=3)


@pytest.fixture
def write(tmp_path):
    def write(name: str = "samples.npz", **arrays) -> str:
        path = tmp_path / name
        np.savez_compressed(path, **arrays)
        return str(path)
    return write


def refused(board, submission, match, name="eve", **options):
    before = board.file.read_bytes() if board.file.exists() else None
    with pytest.raises(TinygenError, match=match) as told:
        board.add(name, submission, n=N, **options)
    assert "\n" not in str(told.value)
    assert (board.file.read_bytes() if board.file.exists() else None) == before


def test_samples_are_measured_and_ranked(board, drawn, write):
    blurred = torch.nn.functional.avg_pool2d(drawn.float(), 4).repeat_interleave(4, 2).repeat_interleave(4, 3).byte()
    worse = board.add("ben", write(images=to_hwc(blurred)), n=N, claim=0.5)
    better = board.add("ada", write("more.npz", images=to_hwc(drawn), labels=np.arange(N) % 12), n=N)
    assert [row["name"] for row in board.rows()] == ["ada", "ben"] and better["fd"] < worse["fd"]
    assert better["class_adherence"] is not None and worse["class_adherence"] is None
    stored = list(csv.DictReader(board.file.open()))[1]
    assert float(stored["claim"]) == 0.5 and float(stored["fd"]) > 1         # the claim stands beside, and counts for nothing
    assert "ben" in module.table(board.rows()) and "0.50" in module.table(board.rows())


def test_a_recorded_generator_gives_the_very_images(drawn):
    recorded = Recorded(drawn)
    assert torch.equal(torch.cat([to_uint8(recorded.generate(15)), to_uint8(recorded.generate(25))]), drawn)


def test_malformed_files_are_refused(board, drawn, write, tmp_path):
    images = to_hwc(drawn)
    refused(board, str(tmp_path / "nothing.npz"), "there is no")
    (tmp_path / "text.npz").write_text("FD 0.1")
    refused(board, str(tmp_path / "text.npz"), "cannot be read")
    refused(board, write(images=images[:-1]), r"\(39, 32, 32, 3\), not uint8 \(40")
    refused(board, write(images=images.transpose(0, 3, 1, 2)), r"\(40, 3, 32, 32\)")
    refused(board, write(images=images.astype(np.float32) / 255), "float32")
    refused(board, write(images=images, labels=np.zeros(N, int)), "not 0, 1, ... 11 in turn")
    refused(board, write(images=images, labels=(np.arange(N) % 12).astype(np.float64)), "float64")
    refused(board, write(labels=np.arange(N) % 12), "holds no images")
    refused(board, write(images=images, fd=np.array(0.01)), "holds 'fd'")
    refused(board, write(images=np.array([print], dtype=object)), "object")
    refused(board, write(images=images), "a name has letters", name="=SUM(A1)")


def test_hostile_archives_are_refused(board, drawn, tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (N, 32, 32, 3)})
    for name, content, match in (("short", b"\x00" * 100, "cannot be read"), ("long", bytes(2 ** 24), "cannot be read")):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", header.getvalue() + content)
        refused(board, str(tmp_path / f"{name}.npz"), match)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "|u1", "fortran_order": False, "shape": (2 ** 50,)})
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("images.npy", huge.getvalue())
    refused(board, str(tmp_path / "huge.npz"), "1125899906842624")
    with zipfile.ZipFile(tmp_path / "damaged.npz", "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x09\x09")
    refused(board, str(tmp_path / "damaged.npz"), "cannot be read")


@pytest.mark.parametrize("disguise", ["none", "mirrored", "brighter", "a little noise"])
@pytest.mark.parametrize("split", ["train", "test", "heldout"])
def test_real_images_are_refused(board, sets, drawn, write, split, disguise):
    images = sets[f"shapes:{split}"].images[100:100 + N].int()
    images = {"none": images, "mirrored": images.flip(3), "brighter": images.clamp(0, 240) + 15,
              "a little noise": images + torch.randint(-6, 7, images.shape)}[disguise].clamp(0, 255).byte()
    images = torch.cat([drawn[:N // 2], images[N // 2:]])                    # half of them would be enough to win
    refused(board, write(images=to_hwc(images)), "repeat images of shapes")


def test_an_entry_counts_once(board, drawn, write):
    board.add("ada", write(images=to_hwc(drawn)), n=N)
    refused(board, write(images=to_hwc(drawn)), "ada is on the board already", name="ada")
    refused(board, write(images=to_hwc(drawn.flip(0))), "the images of ada")
    refused(board, write(images=to_hwc(drawn ^ 1)), "the images of ada")     # the lowest bit of every pixel turned
    refused(board, write(images=to_hwc(drawn)), "measures 40 images of shapes", data="cifar10")
    row = board.add("ada", write(images=to_hwc(drawn.flip(0))), replace=True)
    assert [found["name"] for found in board.rows()] == ["ada"] and row["sha256"] == images_sha256(drawn)


def test_a_model_draws_its_own_samples(board, tmp_path):
    refused(board, "zoo:shapes-ldm", "has the weights of zoo:shapes-ldm")
    refused(board, "zoo:cifar10-dcgan", "was trained on cifar10")
    refused(board, str(ZOO / "shapes-vqgan"), "draws no samples", baseline=True)
    mine = tmp_path / "mine"
    shutil.copytree(ZOO / "shapes-ldm", mine)
    refused(board, str(mine), "has the weights of zoo:shapes-ldm")
    facts = (mine / "model.json").read_text()
    (mine / "model.json").write_text(facts.replace('"sha256": "', '"sha256": "0'))
    refused(board, str(mine), "draws no samples")
    (mine / "model.json").write_text(facts[:100])
    refused(board, str(mine), "not a tinygen model description")


def test_a_board_that_was_edited_is_not_read(board, drawn, write):
    board.add("ada", write(images=to_hwc(drawn)), n=N)
    text = board.file.read_text()
    for edited in (text.replace("name,kind", "kind,name"), text.replace("samples", "winner"),
                   text.replace(text.splitlines()[1].split(",")[5], "nan"), text + "eve,samples\n"):
        board.file.write_text(edited)
        with pytest.raises(TinygenError, match="restore it"):
            board.rows()


def test_distance_ignores_brightness_and_side():
    images = torch.randint(20, 200, (6, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert repeated(images + 30, images) == 1 and repeated(images[:3].flip(3), images) == 1
    assert repeated(images[:3], images[3:]) == 0


def test_the_commands(board, drawn, write, capsys):
    options = ["--board", str(board.folder)]
    assert main(["course", "leaderboard", "show", *options]) == 0
    assert "nobody" in capsys.readouterr().out
    path = write(images=to_hwc(drawn))
    assert main(["course", "leaderboard", "add", "ada", path, "--n", str(N), "--claim", "1.5", *options]) == 0
    assert "(claimed: 1.5) with 40 images of shapes" in capsys.readouterr().out
    assert main(["course", "leaderboard", "add", "ada", path, *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["course", "leaderboard", "show", *options]) == 0
    assert "ada" in capsys.readouterr().out
