"""A lab from release to a grade, in JupyterLab with nbgrader's extensions: once as a student, once as an instructor."""

import getpass
from types import SimpleNamespace

import pytest

from tinygen.course.course import Course
from tinygen.course.prove import load

NAME = "lab03"
EXCHANGE = "\nc.Exchange.root = {!r}\nc.Exchange.cache = {!r}\n"


@pytest.fixture(scope="module")
def school(tmp_path_factory, request):
    """A course that has released a lab into an exchange, and a student's empty folder."""
    place = tmp_path_factory.mktemp("school")
    for name in ("exchange", "student", "cache"):
        (place / name).mkdir()
    (place / "exchange").chmod(0o777)
    sources = request.config.rootpath / "labs" / "source"
    course = Course.init(place / "vision", sources)
    settings = EXCHANGE.format(str(place / "exchange"), str(place / "cache"))
    course.settings.write_text(course.settings.read_text() + settings)
    course.release(NAME)
    assert course.api().release_assignment(NAME)["success"]
    _, lab, _ = load(sources / NAME)
    return SimpleNamespace(place=place, course=course, settings=settings, task=lab.tasks[0])


def menu(page, *path: str) -> None:
    """Choose an entry of JupyterLab's menus."""
    page.locator(".lm-MenuBar-itemLabel", has_text=path[0]).first.click()
    page.locator(".lm-Menu-itemLabel", has_text=path[1]).first.click()


def save(page, what: str, field, text: str) -> None:
    """Fill in a field of the formgrader, until the server has it."""
    with page.expect_response(lambda answer: f"/api/{what}/" in answer.url and answer.request.method == "PUT") as saved:
        field.fill(text)
        field.blur()
    assert saved.value.ok


def test_a_student_fetches_works_validates_submits(browser_page, school, start_lab, pictures):
    home = school.place / "student-home"
    home.mkdir()
    config = home / "nbgrader_config.py"
    config.write_text("c = get_config()\nc.CourseDirectory.course_id = 'vision'" + school.settings)
    with start_lab(school.place / "student", home / "jupyter",
                   JUPYTER_CONFIG_PATH=str(home)) as address:
        page = browser_page(address.replace("/tree/{}", ""))
        menu(page, "Nbgrader", "Assignment List")
        released = page.locator("#released_assignments_list .list_item", has_text=NAME)
        released.locator("button", has_text="Fetch").click()
        page.locator("#fetched_assignments_list .list_item", has_text=NAME).first.wait_for()
        page.screenshot(path=pictures / "nbgrader-fetched.png")
        page.goto(address.format(f"{NAME}/{NAME}.ipynb"))
        page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell").first.wait_for()
        page.locator("#jp-main-statusbar", has_text="Idle").wait_for()
        stub = page.locator(".jp-Notebook .jp-CodeCell", has_text=f"def {school.task.name}(").first
        stub.scroll_into_view_if_needed()
        stub.locator(".cm-content").click()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.insert_text(school.task.source)
        page.keyboard.press("ControlOrMeta+s")
        page.screenshot(path=pictures / "nbgrader-worked.png")
        page.locator("jp-button.validate-button, .validate-button").first.click()
        result = page.locator(".jp-Dialog")
        result.wait_for()
        page.screenshot(path=pictures / "nbgrader-validated.png")
        words = result.inner_text()
        assert "failed" in words and "not written" not in words
        result.locator("button").last.click()
        menu(page, "Nbgrader", "Assignment List")
        fetched = page.locator("#fetched_assignments_list .list_item", has_text=NAME).first
        fetched.locator("button", has_text="Submit").click()
        page.locator("#submitted_assignments_list .list_item", has_text=NAME).first.wait_for()
        page.screenshot(path=pictures / "nbgrader-submitted.png")
        page.close()


def test_an_instructor_collects_grades_and_gives_points_by_hand(browser_page, school, start_lab, pictures):
    course, student = school.course, getpass.getuser()
    assert course.api().collect(NAME)["success"]
    assert course.grade(NAME, unsafe=True) == {student: school.task.points}
    with start_lab(course.folder, school.place / "instructor-home") as address:
        page = browser_page(address.replace("/tree/{}", ""))
        menu(page, "Nbgrader", "Formgrader")
        grader = page.frame_locator("iframe")
        grader.locator("a", has_text="Manual Grading").first.click()
        grader.locator(".breadcrumb .active", has_text="Manual Grading").wait_for()
        grader.locator("table a", has_text=NAME).click()
        grader.locator(".breadcrumb .active", has_text=NAME).wait_for()
        grader.locator("table a", has_text=NAME).click()
        grader.locator("table a", has_text="Submission #1").click()
        score = grader.locator("#notebook input.score#experiment_answer")
        score.scroll_into_view_if_needed()
        save(page, "grade", score, "3")
        save(page, "comment", grader.locator(".comment").last, "The plot has no axes.")
        page.screenshot(path=pictures / "nbgrader-formgrade.png")
        formulas = grader.locator("mjx-container svg")  # typeset by the course's own MathJax: nothing is fetched
        formulas.nth(10).wait_for(state="attached")
        page.close()
    with course.api().gradebook as book:
        submission = book.find_submission(NAME, student)
        assert (submission.score, submission.needs_manual_grade) == (school.task.points + 3, False)
    page_ = (course.feedback(NAME) / student / NAME / f"{NAME}.html").read_text()
    assert "The plot has no axes." in page_ and "HIDDEN" not in page_ and "cdnjs" not in page_


@pytest.fixture
def browser_page(visitor):
    """Open an address as a reader at a desk: errors and requests to elsewhere fail the test."""
    yield visitor.open
    visitor.problems[:] = [problem for problem in visitor.problems
                           if "unknownSymbol" not in problem]            # what KaTeX says of ¼ in a formula
