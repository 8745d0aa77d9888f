"""Long work shows how far it is on a terminal, says nothing elsewhere, and hands on what it makes."""

import io
import re
import sys

import pytest
import torch
from PIL import Image

from tinygen.cli import main
from tinygen.cli.common import progress
from tinygen.cli.course import timed
from tinygen.data import load
from tinygen.evaluate.judging import judge_images
from tinygen.evaluate.making import generate_images, reconstruct_images
from tinygen.models import load_model
from tinygen.train.log import Log


class Terminal(io.StringIO):
    """What a terminal is given."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def open_terminal():                                # in the test's body: pytest puts its own stderr there before
        screen = Terminal()
        monkeypatch.setattr(sys, "stderr", screen)
        return screen

    return open_terminal


def seen(screen):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


def test_a_bar_on_a_terminal(terminal, monkeypatch):
    monkeypatch.setattr("rich.progress.Task.speed", property(lambda task: 12.34))
    screen = terminal()
    with progress() as show:
        for done in (0, 50, 100):
            show("sampling", done, 100)
        for done in (0, 30, 60, 10, 20):                                    # two sets are judged, one after the other
            show("judging", done, 60)
    assert "sampling" in seen(screen) and "100/100" in seen(screen) and "12.3 img/s" in seen(screen)
    assert "judging" in seen(screen) and "0:00:00" in seen(screen)      # time left


def test_nothing_elsewhere(capsys):
    with progress() as show:
        show("sampling", 5, 10)
    assert capsys.readouterr() == ("", "")


def test_sampling_moves_step_by_step_and_prints_on_stdout_only_what_it_found(models, terminal, tmp_path, capsys):
    screen = terminal()
    code = main(["sample", str(models / "by-class"), "--n", "3", "--steps", "4", "--out", str(tmp_path / "a.png")])
    assert code == 0 and "sampling" in seen(screen) and "3/3" in seen(screen)
    assert capsys.readouterr().out.count("\n") == 1


def test_training_shows_speed_and_time_left_on_a_terminal_only(terminal, tmp_path, capsys, monkeypatch):
    def train(folder):
        with Log(folder, "a-run", 2, 8) as log:
            for step in (1, 2):
                log.add(step, {"loss": torch.tensor(0.5)})
                log.flush(1e-3)

    screen = terminal()
    train(tmp_path / "a")
    for shown in ("a-run", "2/2", "0:00:00", "img/s", "loss"):
        assert shown in seen(screen)
    plain = io.StringIO()
    monkeypatch.setattr(sys, "stderr", plain)
    train(tmp_path / "b")
    assert plain.getvalue() == "" and capsys.readouterr().out == ""


def test_evaluation_tells_of_every_batch_and_hands_its_images_on(models):
    test, told = load("shapes:test").subset(range(25)), []
    watch = lambda *what: told.append(what)
    generator, _ = load_model(models / "plain-gan")
    images, _ = generate_images(generator, test, 25, 0, 10, watch=watch)
    assert [what[:3] for what in told] == [("sampling", done, 25) for done in (10, 20, 25)]
    assert torch.equal(torch.cat([what[3] for what in told]), images)
    told.clear()
    judge, _ = load_model(models / "classifier")
    images, _ = reconstruct_images(load_model(models / "vq")[0], test, judge, 10, watch)
    assert [what[:3] for what in told] == [("reconstructing", done, 25) for done in (10, 20, 25)]
    assert torch.equal(torch.cat([what[3] for what in told]), images)
    told.clear()
    judge_images(judge, images, 10, watch)
    assert told == [("judging", done, 25, None) for done in (10, 20, 25)]


def test_evaluate_makes_a_contact_sheet(run, refused, models, tmp_path, monkeypatch):
    import tinygen.evaluate

    def measure(model, info, data, n, *, watch, **options):
        for start in range(0, n, 60):
            watch("sampling", start + 60, n, torch.full((60, 3, 32, 32), start, dtype=torch.uint8))
        return {"metrics": {}, "condition": None}

    monkeypatch.setattr(tinygen.evaluate, "evaluate", measure)
    assert run("evaluate", models / "plain-gan", "--data", "shapes", "--n", 180, "--json",
               "--sheet", tmp_path / "a.png").code == 0
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.getpixel((20, 20)) == (0, 0, 0) and sheet.getpixel((20, sheet.height - 20)) == (60, 60, 60)
    assert ".png" in refused("evaluate", models / "gan", "--data", "shapes", "--n", 20, "--sheet", tmp_path / "a.jpg")


def test_grading_says_how_long_the_rest_takes_on_a_terminal(monkeypatch, capsys):
    tell = timed()
    tell("1/3 anna: 5 of 10")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    tell("2/3 ben: 6 of 10")
    tell("lab01: 3 submissions")
    assert capsys.readouterr().out == "1/3 anna: 5 of 10\n"
    first, second = screen.getvalue().splitlines()
    assert re.fullmatch(r"2/3 ben: 6 of 10  \([\d.]+ minutes left\)", first) and second == "lab01: 3 submissions"
