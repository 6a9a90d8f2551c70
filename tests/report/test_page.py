"""The page in a real browser: it renders, asks for nothing from outside, and a click enlarges."""

import shutil

import pytest
from PIL import Image

from sdg.report.curves import curves
from sdg.report.page import Page

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if (
        CHROMIUM is None
    ):  # CI installs one; a user without a browser still has the rest of the tests
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def metrics(share):
    return {
        "alignment": {"shape": share, "all": share},
        "alignment_all_interval": [share - 0.1, share + 0.1],
        "kernel_judge": [1 - share, 0.1],
        "diversity_judge": 5 - share,
        "diversity_judge_interval": [4 - share, 6 - share],
    }


@pytest.mark.slow
def test_a_page_renders_and_a_click_enlarges_an_image(browser, tmp_path):
    page = Page("Runs & <tags>", "a note")
    page.table(
        [
            {"job": "b", "all": 0.5, "none": None},
            {"job": "a", "all": 10.25, "none": None},
            {"job": "c", "all": 2.0, "none": None},
        ]
    )
    page.drawing(curves(["guidance.gamma=1", "guidance.gamma=10"], [metrics(0.3), metrics(0.7)]))
    red, blue = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    page.gallery(
        ["one", "two"],
        [("γ = 1", [(red, "a red one"), None]), ("γ = 10", [(red, "red"), (blue, 'a "blue" one')])],
    )
    page.text("seed: 0  # <none>")
    file = page.write(tmp_path / "page.html")

    view, wrong = browser.new_page(), []
    view.on("pageerror", lambda error: wrong.append(str(error)))
    view.on(
        "request",
        lambda request: (
            wrong.append(request.url) if not request.url.startswith(("file:", "data:")) else None
        ),
    )
    view.goto(f"file://{file}")
    assert view.title() == "Runs & <tags>" and view.inner_text("pre") == "seed: 0  # <none>"
    assert view.locator("table.sortable th").all_inner_texts() == [
        "job",
        "all",
    ]  # a column without values is left out
    assert view.locator("svg").bounding_box()["width"] > 300
    images = view.locator(".gallery img")
    assert images.count() == 3 and all(
        view.evaluate("i => document.querySelectorAll('.gallery img')[i].naturalWidth", i) == 32
        for i in range(3)
    )

    assert not view.locator("dialog").is_visible()
    images.nth(2).click()
    assert view.locator("dialog").is_visible() and view.inner_text("dialog p") == 'a "blue" one'
    box = view.locator("dialog img").bounding_box()
    assert box["width"] > 3 * images.nth(2).bounding_box()["width"]
    pixel = """() => {
        const i = document.querySelector('dialog img'), c = document.createElement('canvas');
        c.getContext('2d').drawImage(i, 0, 0);
        return [...c.getContext('2d').getImageData(5, 5, 1, 1).data];
    }"""
    assert view.evaluate(pixel) == [0, 0, 255, 255]
    view.mouse.click(5, 5)
    assert not view.locator("dialog").is_visible()

    view.locator("table.sortable th").nth(1).click()
    assert view.locator("table.sortable tbody td:first-child").all_inner_texts() == [
        "b",
        "c",
        "a",
    ]  # by number, not by letters
    view.locator("table.sortable th").nth(1).click()
    assert view.locator("table.sortable tbody td:first-child").all_inner_texts() == ["a", "c", "b"]
    assert not wrong


def lines(axis):
    return {
        line.get_label(): [list(map(float, part)) for part in line.get_data()]
        for line in axis.lines
    }


def test_curves_run_over_gamma_in_order_with_a_line_for_each_other_setting():
    names = [
        f"guidance.gamma={gamma} sampler.steps={steps}"
        for steps in (10, 50)
        for gamma in (30, 1, 5)
    ]
    figure = curves(names, [metrics(share) for share in (0.9, 0.1, 0.4, 0.8, 0.2, 0.5)])
    left, middle, right = figure.axes
    assert lines(left) == {
        "sampler.steps=10": [[1, 5, 30], [0.1, 0.4, 0.9]],
        "sampler.steps=50": [[1, 5, 30], [0.2, 0.5, 0.8]],
    }
    assert (
        lines(middle)["sampler.steps=50"][1] == pytest.approx([0.8, 0.5, 0.2])
        and "kernel" in middle.get_ylabel()
    )
    assert (
        lines(right)["sampler.steps=10"][1] == pytest.approx([4.9, 4.6, 4.1])
        and len(right.collections) == 2
    )  # two bands


def test_one_run_over_gamma_shows_every_factor_and_words_alone_draw_nothing():
    figure = curves(
        ["guidance.gamma=0", "guidance.gamma=5"],
        [metrics(0.1), metrics(0.6) | {"kernel_judge": None, "frechet_judge": 3.0}],
    )
    left, right = figure.axes  # no distance that both have
    assert set(lines(left)) == {"shape", "all"} and "diversity" in right.get_ylabel()
    assert curves(["guidance=sdg", "guidance=dps"], [metrics(0.1), metrics(0.2)]) is None
