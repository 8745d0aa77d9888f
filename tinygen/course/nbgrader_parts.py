"""What nbgrader is given in the place of its own parts: verdicts from the sandbox, feedback without hidden tests."""

import json
import os
import sys
import warnings
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader import preprocessors
from traitlets import Unicode


class PutVerdicts(preprocessors.NbGraderPreprocessor):
    """Writes the sandbox's verdict under every test cell, where nbgrader's own step runs the notebook unguarded."""

    folder = Unicode("", help="the course's folder").tag(config=True)

    def preprocess(self, nb, resources):
        """An error where a test gave no points; nbgrader makes grades of that."""
        facts = resources["nbgrader"]
        path = Path(self.folder) / "verdicts" / facts["assignment"] / f"{facts['student']}.json"
        scores = json.loads(path.read_text())["scores"]
        for cell in nb.cells:
            score = scores.get(cell.metadata.get("nbgrader", {}).get("grade_id"))
            if score is not None and cell.cell_type == "code":
                message = score["message"]
                cell.outputs = [] if not message else [nbformat.v4.new_output(
                    "error", ename="Test", evalue=message, traceback=[message])]
        return nb, resources


def configure(config, folder: Path) -> None:
    """Change nbgrader's settings, in place, and let it find its tools in an environment that is not activated."""
    tools = str(Path(sys.executable).parent)                                             # it runs alembic by its name
    if tools not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([tools, os.environ["PATH"]])
    warnings.filterwarnings("ignore", message="Object of type", module="nbgrader")       # of its own making, harmless
    config.PutVerdicts.folder = str(folder)
    if "root" not in config.Exchange:                   # nbgrader wants one, even where files come another way
        (folder / "exchange").mkdir(exist_ok=True)
        config.Exchange.root = str(folder / "exchange")
    config.Autograde.sanitize_preprocessors = [preprocessors.DeduplicateIds, preprocessors.OverwriteKernelspec,
                                               preprocessors.OverwriteCells, preprocessors.CheckCellMetadata]
    config.Autograde.autograde_preprocessors = [PutVerdicts, preprocessors.LimitOutput, preprocessors.SaveAutoGrades,
                                                preprocessors.AssignLatePenalties, preprocessors.CheckCellMetadata]
    config.GenerateFeedback.preprocessors = [preprocessors.GetGrades, preprocessors.ClearHiddenTests,
                                             CSSHTMLHeaderPreprocessor]
    config.NbGraderAPI.log_level = "ERROR"
