"""The page in a real browser: it renders, asks for nothing from outside, and a click enlarges."""

import shutil
from html.parser import HTMLParser

import pytest
from PIL import Image

from sdg.report.curves import curves
from sdg.report.page import Group, Page, Picture
from sdg.report.rows import Sample
from sdg.report.samples import caption, miss
from sdg.report.words import Sentence

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:  # CI has one; a user without a browser still has the rest of the tests
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


def picture(colour, text, **options):
    return Picture(Image.new("RGB", (32, 32), colour), text, **options)


def opened(browser, file):
    """The page in a tab, and what went wrong there: errors and requests to the outside."""
    view, wrong = browser.new_page(), []

    def outside(request):
        if not request.url.startswith(("file:", "data:")):
            wrong.append(request.url)

    view.on("pageerror", lambda error: wrong.append(str(error)))
    view.on("console", lambda message: wrong.append(message.text))
    view.on("request", outside)
    view.goto(f"file://{file}")
    return view, wrong


def enlarged(view):
    return view.inner_text("dialog p") if view.locator("dialog").is_visible() else None


def test_markup_in_a_prompt_is_text_wherever_it_stands(tmp_path):
    evil = "<script>alert(1)</script>\"'&"
    page = Page(evil, evil, evil, evil)
    page.heading(evil)
    page.note(evil)
    page.table([{evil: evil}])
    page.figures([Sentence(evil, evil, evil, evil)])
    page.grid([Group(evil, [picture("red", evil, label=evil, shown=False, wrong=evil)])])
    page.gallery([evil], [(evil, [picture("red", evil)])])
    with page.folded(evil):
        page.text(evil)
    text = page.write(tmp_path / "page.html").read_text()
    assert "alert(1)</script>" not in text and text.count("<script>") == 1
    parsed = Texts()
    parsed.feed(text)
    assert parsed.texts.count(evil) == 17 and parsed.attributes.count(evil) == 6


@pytest.mark.parametrize(
    ("prompt", "word", "other"),
    [("a small green disc", "disc", "circle"), ("a small green circle", "circle", "disc")],
)
def test_a_page_says_a_shape_in_the_prompts_own_word(prompt, word, other):
    row = {
        "index": "0",
        "seed": "1",
        "prompt": prompt,
        "shape": "ring",
        "size": "small",
        "all": "0",
        "missed": "shape",
        "missed_values": "circle",
    }
    conditions = {"prompt": prompt}
    assert miss(Sample(row, conditions, {})) == f"shape: {word} wanted, read as ring"
    read = caption(Sample(row | {"shape": "circle"}, conditions, {}), ["shape", "size"])
    assert f"read off the picture: shape {word}, size small" in read
    assert other not in read


def test_a_curve_that_no_run_has_a_value_of_is_left_out():
    read, unread = (
        [metrics(0.3), metrics(0.7) | {"alignment": {"shape": share, "all": share}}]
        for share in (0.7, None)
    )
    unread[0] = unread[1]
    assert [panels(each) for each in (read, unread)] == [3, 2]


def test_the_band_of_a_kernel_distance_is_one_deviation_and_the_axis_says_so():
    figure = curves(["guidance.gamma=1", "guidance.gamma=10"], [metrics(0.3), metrics(0.7)])
    axis = figure.axes[1]
    assert "kernel distance" in axis.get_ylabel() and "± one standard dev" in axis.get_ylabel()
    heights = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0.3 - 0.1, 0.7 + 0.1))


def panels(results):
    return len(curves(["guidance.gamma=1", "guidance.gamma=10"], results).axes)


def test_what_is_cut_off_can_be_read_whole(tmp_path):
    page, text = Page("a run"), "a sentence " * 40
    page.grid([Group("", [picture("red", text, label=text, shown=False, wrong="much")])])
    page.gallery([""], [("a run", [picture("red", text, shown=False, wrong="much")])])
    cut = Cut()
    cut.feed(page.write(tmp_path / "page.html").read_text())
    assert cut.titles == [text, None, text]


class Cut(HTMLParser):
    """The titles of what a page may cut off."""

    def __init__(self):
        super().__init__()
        self.titles = []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "figcaption" or (tag == "b" and self.get_starttag_text().startswith("<b class")):
            self.titles.append(found.get("title"))


class Texts(HTMLParser):
    """The texts and the attributes' values of a page."""

    def __init__(self):
        super().__init__()
        self.texts, self.attributes = [], []

    def handle_starttag(self, tag, attributes):
        self.attributes += [value for _, value in attributes]

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.mark.slow
def test_a_page_renders_sorts_and_asks_for_nothing(browser, tmp_path):
    page = Page("Runs & <tags>", "a note", "python sample.py 'prompt=a <b>'", "2026-01-02")
    for first in ("job", "run"):
        page.table(
            [
                {first: "b", "all": 0.5, "none": None},
                {first: "a", "all": 10.25, "none": None},
                {first: "c", "all": 2.0, "none": None},
            ]
        )
    page.drawing(curves(["guidance.gamma=1", "guidance.gamma=10"], [metrics(0.3), metrics(0.7)]))
    page.gallery(
        ["one", "two"],
        [
            ("γ = 1", [picture("red", "a red one"), None]),
            ("γ = 10", [picture("red", "red"), picture("blue", 'a "blue" one')]),
        ],
    )
    with page.folded("Config"):
        page.text("seed: 0  # <none>")
    view, wrong = opened(browser, page.write(tmp_path / "page.html"))
    assert view.title() == "Runs & <tags>"
    assert not view.locator("pre").is_visible()
    view.locator("summary").click()
    assert view.inner_text("pre") == "seed: 0  # <none>"
    heads = view.locator("table.sortable th")
    assert heads.all_inner_texts() == ["job", "all", "run", "all"]  # one without values is left out
    assert view.locator("svg").bounding_box()["width"] > 300
    images = view.locator(".gallery img")
    widths = [images.nth(i).evaluate("image => image.naturalWidth") for i in range(3)]
    assert images.count() == 3 and widths == [32] * 3

    images.nth(2).click()
    assert enlarged(view) == 'a "blue" one'
    box = view.locator("dialog img").bounding_box()
    assert box["width"] > 3 * images.nth(2).bounding_box()["width"]
    pixel = """() => {
        const i = document.querySelector('dialog img'), c = document.createElement('canvas');
        c.getContext('2d').drawImage(i, 0, 0);
        return [...c.getContext('2d').getImageData(5, 5, 1, 1).data];
    }"""
    assert view.evaluate(pixel) == [0, 0, 255, 255]
    view.mouse.click(5, 5)
    assert enlarged(view) is None

    for table in (0, 1):  # by number, not by letters, and each table by itself
        first = view.locator("table.sortable").nth(table).locator("tbody td:first-child")
        head = heads.nth(2 * table + 1)
        head.click()
        assert first.all_inner_texts() == ["b", "c", "a"]
        head.click()
        assert first.all_inner_texts() == ["a", "c", "b"]
    assert not wrong


@pytest.mark.slow
def test_misses_are_marked_and_chosen_and_arrow_keys_turn(browser, tmp_path):
    page = Page("a prompt", command="python sample.py 'prompt=a \"red\" star'")
    hits = [picture("red", f"hit {i}", shown=True) for i in range(2)]
    miss = picture(
        "blue", "miss", shown=False, wrong="colour", unguided=picture("green", "without guidance")
    )
    page.grid([Group("first", [hits[0], miss]), Group("second", [hits[1]])])
    view, wrong = opened(browser, page.write(tmp_path / "page.html"))
    buttons, images = view.locator(".filter button"), view.locator(".grid img")
    assert buttons.all_inner_texts() == ["all 3", "✓ 2 show their prompt", "✗ 1 do not"]
    assert view.locator(".miss .wrong").inner_text() == "✗ colour"

    def visible():
        count = images.count()
        alts = [images.nth(i).get_attribute("alt") for i in range(count)]
        return [alt for i, alt in enumerate(alts) if images.nth(i).is_visible()]

    everything = ["hit 0", "without guidance", "miss", "hit 1"]
    assert visible() == everything
    buttons.nth(2).click()
    assert visible() == ["without guidance", "miss"]
    assert view.locator("h3").nth(1).is_hidden()  # nothing below it
    buttons.nth(1).click()
    assert visible() == ["hit 0", "hit 1"]
    images.nth(0).click()
    seen = [enlarged(view)]
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):  # it stops at the end
        view.keyboard.press(key)
        seen.append(enlarged(view))
    assert seen == ["hit 0", "hit 1", "hit 1", "hit 0"]
    view.keyboard.press("Escape")
    assert enlarged(view) is None

    view.evaluate(
        "() => { navigator.clipboard.writeText = async text => { window.kept = text; }; }"
    )
    view.locator("#copy").click()
    assert view.evaluate("window.kept") == "python sample.py 'prompt=a \"red\" star'"
    view.emulate_media(media="print")
    assert view.locator("#copy").is_hidden() and view.locator(".filter").is_hidden()
    assert images.nth(0).is_visible()
    assert not wrong


def lines(axis):
    """{label: its xs and its ys}."""
    found = {}
    for line in axis.lines:
        xs, ys = line.get_data()
        found[line.get_label()] = [list(map(float, xs)), list(map(float, ys))]
    return found


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
