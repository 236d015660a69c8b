"""The report in a real browser, from the committed results of the embedded model."""

from dataclasses import replace
from pathlib import Path

import pytest
from pages import check_contrast, check_quiet, check_targets, overflow

RESULTS = Path(__file__).parents[2] / "figures" / "results.json"
EVIL = "</script><script>window.broken = 1</script><b>bold</b> & $x$"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    import sadi_lens as sl

    return sl.apps.write_report(RESULTS, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def shown(open_once, report):
    """The page as it opens, for those who only look."""
    return open_once(report)


def column(page, table, index):
    """Texts of one column of a table, from the top."""
    rows = page.locator(table).first.locator("tbody tr")
    return [rows.nth(i).locator("td").nth(index).inner_text() for i in range(rows.count())]


def test_nothing_is_fetched_and_the_first_screen_holds_the_verdict(shown, report):
    from sadi_lens.apps.report import verdict
    from sadi_lens.types.store import read_json

    page = shown
    check_quiet(page, report)
    said = page.locator(".verdict")
    assert said.inner_text() == verdict(read_json(RESULTS)["comparison"]).sentence
    assert said.bounding_box()["y"] + said.bounding_box()["height"] < 900
    assert page.locator("figure").count() == page.locator(".plot .main-svg:first-child").count() > 5


def test_every_text_is_readable(shown):
    check_contrast(shown)


def test_every_control_has_room_for_a_finger(shown):
    assert check_targets(shown) == []


def test_a_page_in_the_dark_is_readable_and_no_wider_than_its_window(open_page, report):
    page = open_page(report, scheme="dark")
    check_contrast(page)
    for width in (390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        for is_open in ("false", "true"):
            page.evaluate(
                f"document.querySelectorAll('details').forEach((one) => {{ one.open = {is_open}; }})"
            )
            assert overflow(page) == 0


def test_a_cut_figure_says_so_and_scrolls_by_keyboard(open_page, shown, report):
    page = open_page(report, width=390, height=844)
    assert overflow(page) == 0
    figure = page.locator("figure").first
    assert figure.locator(".swipe").is_visible()
    figure.locator(".scroll").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('figure .scroll').scrollLeft > 0")
    assert not shown.locator("figure .swipe").first.is_visible()


def test_a_cut_table_says_so_and_one_that_fits_does_not(open_page, report):
    page = open_page(report, width=390, height=844)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    tables = page.locator(".table").evaluate_all(
        """(all) => all.map((one) => {
          const box = one.querySelector(".scroll");
          return [box.scrollWidth > box.clientWidth, one.querySelector(".swipe").checkVisibility()];
        })"""
    )
    assert {True, False} == {is_cut for is_cut, _ in tables}
    assert all(is_cut == says_so for is_cut, says_so in tables)


def test_tables_sort_by_click_and_by_keyboard(open_page, report):
    from sadi_lens.types.store import read_json

    rows = read_json(RESULTS)["comparison"].rows
    page = open_page(report)
    head = page.locator("table.sortable").first.get_by_role("button", name="accuracy")
    head.click()
    by_accuracy = [
        f"{100 * one:.1f}%" for one in sorted((row.accuracy for row in rows), reverse=True)
    ]
    shown = [text.split("\n")[0] for text in column(page, "table.sortable", 1)]
    assert shown == by_accuracy
    head.focus()
    page.keyboard.press("Enter")
    shown = [text.split("\n")[0] for text in column(page, "table.sortable", 1)]
    assert shown == by_accuracy[::-1]
    assert page.locator("th[aria-sort=ascending]").count() == 1
    # Rows without a value stay at the end, whichever way it is sorted.
    null_p = page.locator("table.sortable").first.get_by_role("button", name="random as good")
    for _ in range(2):
        null_p.click()
        shown = column(page, "table.sortable", 4)
        n_known = sum(bool(row.null) for row in rows)
        assert "\u2013" not in shown[:n_known]
        assert set(shown[n_known:]) == {"\u2013"}


def test_the_theme_button_turns_page_and_figures(open_page, report):
    page = open_page(report)
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    drawn = "document.querySelector('.plot')._fullLayout.paper_bgcolor"
    light = page.evaluate(paper), page.evaluate(drawn)
    page.get_by_role("button", name="theme").click()
    page.get_by_role("button", name="theme").click()
    assert page.locator("#theme").inner_text() == "theme: dark"
    dark = page.evaluate(paper), page.evaluate(drawn)
    assert light == ("rgb(255, 255, 255)", "#ffffff")
    assert dark == ("rgb(17, 19, 23)", "#111317")
    page.reload()
    assert page.evaluate(paper) == dark[0]


def test_paper_gets_light_figures_that_fit_and_open_tables(open_page, report):
    page = open_page(report, width=720, scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("document.querySelector('.plot')._fullLayout.paper_bgcolor") == "#ffffff"
    assert (
        page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    assert page.evaluate("[...document.querySelectorAll('details')].every((one) => one.open)")
    wide = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.plot')].map((one) => one.getBoundingClientRect().right))"
    )
    assert wide <= 720
    assert overflow(page) == 0


def test_every_table_stands_below_its_own_caption(open_page, report):
    page = open_page(report, width=1440)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    placed = page.evaluate(
        """[...document.querySelectorAll('.scroll:has(> table)')].map((one) => {
          const words = one.parentElement.querySelector('.note');
          const [caption, table] = [words, one].map((e) => e.getBoundingClientRect());
          return [one.getAttribute('aria-label') === words.textContent,
            Math.abs(caption.left - table.left) < 1, caption.bottom <= table.top];
        })"""
    )
    assert len(placed) > 5
    assert all(all(one) for one in placed), placed


def test_markup_in_names_is_shown_as_text(open_page, tmp_path):
    import sadi_lens as sl
    from sadi_lens.types.store import read_json

    results = read_json(RESULTS)
    rows = [
        replace(row, label=f"{row.label} {EVIL}", settings=EVIL)
        for row in results["comparison"].rows
    ]
    model = replace(results["comparison"].model, name=EVIL)
    results["comparison"] = replace(results["comparison"], task=EVIL, rows=tuple(rows), model=model)
    results["masks"] = {f"{EVIL}{name}": mask for name, mask in results["masks"].items()}
    results["finding"] = EVIL
    path = sl.apps.write_report(results, tmp_path / "evil.html")
    page = open_page(path)
    check_quiet(page, path)
    assert page.evaluate("window.broken") is None
    assert page.locator("h1").inner_text() == f"{EVIL} on {EVIL}"
    assert EVIL in page.locator(".verdict").inner_text()
    assert EVIL in page.locator("table.sortable td").first.inner_text()
    assert page.locator("b", has_text="bold").count() == 0
