"""The report of a run: all that was logged, drawn and set is on one page; resumed and broken runs have one, too."""

import base64
import io
import json
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from PIL import Image

from tinygen.errors import TinygenError
from tinygen.show import run_report
from tinygen.show.run_report import Record, duration, evenly, run_page, write_run_report


class Read(HTMLParser):
    """Pictures {words: size}, the cells of the tables, and what the page refers to."""

    def __init__(self, path):
        super().__init__()
        self.inside, self.pictures, self.cells, self.references = False, {}, [], []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "img":
            data = base64.b64decode(found["src"].partition("base64,")[2])
            self.pictures[found["alt"]] = Image.open(io.BytesIO(data)).size
        self.references += [value for name, value in attributes if name in ("src", "href") and value[:5] != "data:"]
        self.inside = tag == "td"
        self.cells += [""] if self.inside else []

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data

    def value(self, key):
        return self.cells[self.cells.index(key) + 1]


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_finished_run_shows_everything(trainer, tmp_path):
    run = trainer("gan", tmp_path, preview_every=1, steps=8)
    with Record(run, "cpu", ["train.steps=8", "train.<lr>=3"]):
        run.run()
    page = Read(tmp_path / "report.html")
    assert all(reference.startswith("#") for reference in page.references) and "<script" not in page.text
    logged = {name for row in rows(tmp_path) for name in row} - {"step", "images", "seconds"}
    curves = {words.partition(":")[0]: words for words in page.pictures if ": from " in words}
    assert set(curves) == logged >= {"lr", "images_per_second", "gradient_generator", "gradient_discriminator"}
    first, last = rows(tmp_path)[0], rows(tmp_path)[-1]
    assert curves["lr"] == f"lr: from {first['lr']:.3g} to {last['lr']:.3g}, over 0.064 thousand images"
    previews = [words for words in page.pictures if words.startswith("step ")]
    assert previews[0] == "step 1 of 8" and previews[-1] == "step 8 of 8" and len(previews) == 6
    with Image.open(tmp_path / "previews" / "0000008.png") as preview:
        assert page.pictures["step 8 of 8"] == preview.size
    assert page.value("how it ended") == "finished" and page.value("steps") == "8 of 8"
    assert page.value("images seen") == "64" and page.value("train.batch_size") == "8"
    assert page.value("data, SHA-256") == run.data.sha256() and page.value("data") == "tiny:train, 24 images"
    parameters = sum(p.numel() for p in run.objective.model.parameters())
    assert page.value("parameters") == f"{parameters:,}" and page.value("model.latent_channels") == "4"
    assert page.value("precision") == "fp32" and page.value("device") == "cpu" and page.value("processes") == "1"
    assert page.value("threads").startswith("1 of ") and {"tinygen", "python", "torch", "processor"} <= set(page.cells)
    assert "tier cpu" in page.text and "train.&lt;lr&gt;=3" in page.text


@pytest.mark.parametrize("error, ended", [(KeyboardInterrupt(), "interrupted"),
                                          (TinygenError("mse is nan"), "stopped: mse is nan")])
def test_an_interrupted_run_has_a_report_and_a_resumed_one_tells_of_both(trainer, tmp_path, error, ended):
    run = trainer("vq", tmp_path, steps=8, checkpoint_every=3)
    step = run.train_step

    def deadly(progress):
        if progress.step == 5:
            raise error
        return step(progress)

    run.train_step = deadly
    with pytest.raises(type(error)):
        with Record(run):
            run.run()
    page = Read(tmp_path / "report.html")
    assert page.value("how it ended") == ended and page.value("steps") == "5 of 8"
    assert "Dashed" not in page.text and page.value("ended") == ended

    run = trainer("vq", tmp_path, steps=8, checkpoint_every=3, resume=True)
    with Record(run):
        run.run()
    page, sessions = Read(tmp_path / "report.html"), json.loads((tmp_path / "run.json").read_text())["sessions"]
    assert [(s["first_step"], s["last_step"], s["ended"]) for s in sessions] == [(0, 5, ended), (3, 8, "finished")]
    assert page.value("how it ended") == "finished" and "Dashed" in page.text
    start = page.cells.index("from step")
    assert page.cells[start + 1:start + 3] == ["0", "3"]
    steps = [row["step"] for row in rows(tmp_path)]
    assert steps == list(range(1, 9))


def test_a_run_that_nobody_recorded_shows_what_lies_there(trainer, tmp_path, crash_at):
    crash_at(trainer("vq", tmp_path / "killed", steps=8, checkpoint_every=3), 5)
    page = Read(write_run_report(tmp_path / "killed"))
    assert "--resume" in page.value("how it ended") and page.value("steps") == "5 of 8" and "Not recorded" in page.text
    assert page.value("train.lr") == "0.003" and page.value("data") == "tiny"
    run = trainer("vq", tmp_path / "whole", steps=4)
    run.run()
    page = Read(write_run_report(tmp_path / "whole"))
    assert page.value("how it ended") == "finished" and page.value("data, SHA-256") == run.data.sha256()
    with pytest.raises(TinygenError, match="holds no run"):
        run_page(tmp_path)


def test_a_run_before_its_first_line_and_a_killed_one_that_was_recorded(trainer, tmp_path, crash_at):
    with Record(trainer("vq", tmp_path / "a", steps=8)):
        assert "Nothing was logged yet" in run_page(tmp_path / "a").html()                  # while it trains
    run = trainer("vq", tmp_path / "b", steps=8, checkpoint_every=3)
    Record(run).__enter__()                                                                # and never leaves
    crash_at(run, 5)
    assert "still training, or killed" in run_page(tmp_path / "b").html()
    (tmp_path / "b" / "run.json").write_text("{")                                          # damaged: as if not there
    assert "Not recorded" in run_page(tmp_path / "b").html()


def test_a_refused_resume_leaves_no_trace(trainer, tmp_path):
    run = trainer("vq", tmp_path, steps=3)
    with Record(run):
        run.run()
    before = {name: (tmp_path / name).read_bytes() for name in ("run.json", "report.html")}
    for there in (True, False):
        run = trainer("vq", tmp_path, steps=3, lr=0.5, resume=True)
        with pytest.raises(TinygenError, match="train.lr"):
            with Record(run):
                run.run()
        assert (tmp_path / "report.html").read_bytes() == before["report.html"]
        assert (tmp_path / "run.json").exists() == there
        if there:
            assert (tmp_path / "run.json").read_bytes() == before["run.json"]
            (tmp_path / "run.json").unlink()


def test_only_the_main_process_writes(tmp_path):
    other = SimpleNamespace(accelerator=SimpleNamespace(is_main_process=False), out=tmp_path, recipe=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_report, "asdict", lambda recipe: {})
        with Record(other):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_hides_no_error(trainer, tmp_path, monkeypatch):
    def full(folder):
        raise TinygenError("no space")

    monkeypatch.setattr(run_report, "write_run_report", full)
    with pytest.raises(ZeroDivisionError):
        with Record(trainer("vq", tmp_path / "a")):
            raise ZeroDivisionError
    with pytest.raises(TinygenError, match="no space"):
        with Record(trainer("vq", tmp_path / "b")):
            pass


def test_small_things():
    assert evenly("abcdefghij", 4) == ["a", "d", "g", "j"] and evenly("ab", 4) == ["a", "b"]
    assert [duration(s) for s in (3.21, 75, 3725)] == ["3.2 s", "1 min 15 s", "1 h 2 min"]
