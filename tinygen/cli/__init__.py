"""The command `tinygen`: parses, calls, prints. Commands import what they need: --help does not wait for torch."""

import errno
import os
import sys
from collections.abc import Sequence

import typer

from ..errors import TinygenError
from . import course, doctor, evaluation, inventory, sampling, training

UsageError = typer.BadParameter.__base__                # of the click that this typer works with
HINTS = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space", errno.EROFS: "choose another folder",
         errno.EACCES: "choose another folder, or mend its permissions", errno.ENOENT: "check the name"}

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
for command in (doctor.doctor, inventory.data, training.train, training.report, sampling.reconstruct, sampling.sample,
                evaluation.evaluate, inventory.zoo, training.demo, training.speedrun):
    app.command()(command)
app.add_typer(course.course, name="course")
app.add_typer(course.lab, name="lab")


def show_version(asked: bool) -> None:
    """What --version does."""
    if asked:
        from .. import __version__
        print(f"tinygen {__version__}")
        raise typer.Exit()


@app.callback()
def tinygen(version: bool = typer.Option(False, "--version", callback=show_version, is_eager=True,
                                         help="Say which version this is.")) -> None:
    """Train GANs, VQGANs and latent diffusion models from scratch, and look at what they make."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `tinygen ARGUMENTS` (None: those of the process) and return the exit code.

    0: done. 1: `doctor` found something to mend, or the reader of our output went away. 2: bad input, a disk that
    cannot be written or a GPU that is too small, with one line on stderr. 130: Ctrl-C. Whatever else is raised is a bug and keeps its traceback.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with typer.main.get_command(app).make_context("tinygen", arguments or ["--help"]) as context:
            context.command.invoke(context)
        sys.stdout.flush()                              # a full disk behind `> file` is found here, not after the end
        return 0
    except typer.Exit as done:
        return done.exit_code
    except UsageError as error:
        return complain(f"{error.format_message()} (tinygen --help, or tinygen COMMAND --help, says more)")
    except TinygenError as error:
        return complain(str(error))
    except KeyboardInterrupt as interrupt:
        return complain(str(interrupt) or "interrupted; nothing was written", 130)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        return complain("the GPU has too little memory: close what else uses it, or take smaller batches (of "
                        "`tinygen train`: --set train.batch_size=64; tinygen/recipes/README.md says what fits 8 GB)")
    except OSError as error:
        let_go_of_stdout()
        if error.errno == errno.EPIPE:
            return 1
        where = f"{error.filename}: " if error.filename else ""
        hint = HINTS.get(error.errno, "check the file, its folder and the disk")
        return complain(f"{where}{error.strerror or error}; {hint}")


def complain(message: str, code: int = 2) -> int:
    """One line on stderr, whatever the message; -> the exit code."""
    print("tinygen: " + " ".join(message.split()), file=sys.stderr)
    return code


def let_go_of_stdout() -> None:
    """Where stdout cannot be written any more, forget what waits in its buffer: Python would try again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
