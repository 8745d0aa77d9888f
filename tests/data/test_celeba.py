"""CelebA, as far as it can be tested without it: a forged archive of twelve pictures, in every layout that is spread."""

import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from tinygen.data import celeba, load
from tinygen.data.catalog import split_name
from tinygen.errors import TinygenError

COLUMNS = ["Bald", "Eyeglasses", "Male", *(name for name in reversed(celeba.NEEDED) if name not in ("Bald", "Eyeglasses"))]
ON = {0: {"Smiling", "Blond_Hair", "No_Beard"}, 1: {"Eyeglasses", "Bald"}, 2: {"No_Beard"},
      3: {"Black_Hair", "Brown_Hair", "Wearing_Hat", "No_Beard", "Male"}}
SAID = ["a smiling face with blond hair", "a serious face with a bald head and glasses and a beard", "a serious face",
        "a serious face with black hair and a hat"]


def colour(k):
    return (20 * k, 255 - 20 * k, 128)


@pytest.fixture
def root(tmp_path):
    """A data root with twelve forged photographs, 178 x 218: four kinds in turn; 8 train, 1 valid, 3 test."""
    folder = tmp_path / celeba.FOLDER
    (folder / celeba.IMAGES).mkdir(parents=True)
    attributes, partition = ["12", " ".join(COLUMNS)], []
    for k in range(12):
        name = f"{k + 1:06}.jpg"
        canvas = np.zeros((218, 178, 3), np.uint8)                          # black, but for what should be kept
        canvas[50:190, 19:159] = colour(k)
        Image.fromarray(canvas).save(folder / celeba.IMAGES / name, quality=100, subsampling=0)
        attributes.append(f"{name} " + " ".join(" 1" if column in ON[k % 4] else "-1" for column in COLUMNS))
        partition.append(f"{name} {0 if k < 8 else 1 if k == 8 else 2}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(attributes) + "\n")
    (folder / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    return tmp_path


def as_csv(folder):
    for name, head in (("list_attr_celeba", ["image_id", *COLUMNS]), ("list_eval_partition", ["image_id", "partition"])):
        lines = (folder / f"{name}.txt").read_text().splitlines()[2 if "attr" in name else 0:]
        (folder / f"{name}.csv").write_text("\n".join([",".join(head), *(",".join(line.split()) for line in lines)]))
        (folder / f"{name}.txt").unlink()


def as_zip(folder):
    with zipfile.ZipFile(folder / f"{celeba.IMAGES}.zip", "w") as archive:
        for path in sorted((folder / celeba.IMAGES).iterdir()):
            archive.write(path, f"{celeba.IMAGES}/{path.name}")
    shutil.rmtree(folder / celeba.IMAGES)


def nested(folder):
    (folder / celeba.IMAGES).rename(folder / "once")
    (folder / celeba.IMAGES).mkdir()
    (folder / "once").rename(folder / celeba.IMAGES / celeba.IMAGES)


@pytest.mark.parametrize("layout", [lambda folder: None, as_csv, as_zip, nested], ids=["txt", "csv", "zip", "nested"])
def test_pictures_splits_and_sentences(root, layout):
    layout(root / celeba.FOLDER)
    train, test = load("celeba", root=root), load("celeba:test", root=root)
    assert train.name == "celeba:train" and len(train) == 8 and len(test) == 3 and len(load("celeba:valid", root=root)) == 1
    assert train.images.shape == (8, 3, 32, 32) and train.images.dtype == torch.uint8
    assert train.captions == tuple(SAID + SAID) and test.captions == (SAID[1], SAID[2], SAID[3])
    for k in range(8):                                                      # the face is kept, the black rim is not
        expected = torch.tensor(colour(k)).view(3, 1, 1)
        assert (train.images[k].int() - expected).abs().max() <= 6
    assert train.class_names == ("serious", "smiling") and train.labels.tolist() == [1, 0, 0, 0] * 2
    assert train.factors[3].tolist() == [0, 0, 0, 1, 0] and train.factor_names == celeba.FACTORS


def test_it_is_packed_once(root):
    first = load("celeba:test", root=root)
    shutil.rmtree(root / celeba.FOLDER)
    again = load("celeba:test", root=root)
    assert again.sha256() == first.sha256() and again.captions == first.captions
    assert not list(root.glob("*.part"))


@pytest.mark.parametrize("break_it, message", [
    (lambda folder: shutil.rmtree(folder), "list_attr_celeba.txt is not there"),
    (lambda folder: (folder / "list_eval_partition.txt").unlink(), "list_eval_partition.txt is not there"),
    (lambda folder: shutil.rmtree(folder / celeba.IMAGES), "neither img_align_celeba nor img_align_celeba.zip is there"),
    (lambda folder: (folder / celeba.IMAGES / "000002.jpg").unlink(), "the image 000002.jpg cannot be read"),
    (lambda folder: (folder / celeba.IMAGES / "000003.jpg").write_bytes(b"not a picture"), "000003.jpg cannot be read"),
    (lambda folder: (folder / "list_eval_partition.txt").write_text("000001.jpg 1"), "no image of the split train"),
    (lambda folder: (folder / "list_attr_celeba.txt").write_text("1\nSmiling\n000001.jpg 1"), "has no column Black_Hair"),
    (lambda folder: (shutil.rmtree(folder / celeba.IMAGES), (folder / "img_align_celeba.zip").write_bytes(b"PK")),
     "img_align_celeba.zip is broken"),
])
def test_what_is_missing_is_said_with_the_cure(root, break_it, message):
    break_it(root / celeba.FOLDER)
    with pytest.raises(TinygenError, match=message) as caught:
        load("celeba", root=root)
    assert "its terms ask for your agreement: put img_align_celeba.zip" in str(caught.value)
    assert not list(root.glob("celeba-*"))                                  # nothing half-read is kept


def test_splits():
    assert split_name("celeba") == ("celeba", "train") and split_name("celeba:valid") == ("celeba", "valid")
    with pytest.raises(TinygenError, match="celeba has no split"):
        split_name("celeba:heldout")
