"""The report page in a headless Chromium: what the reader does, and that nothing else happens."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_report_html import HOSTILE, hostile_records, write_run

from frbench.commands.report import main

selenium = pytest.importorskip(
    "selenium", reason="selenium is not installed: pip install selenium"
)
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER),
        reason="no Chromium with its driver: apt-get install chromium chromium-driver",
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    # A root in a container has no sandbox and little shared memory.
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1280,1000"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, record, write) -> Iterator[webdriver.Chrome]:
    """A page of hostile names, open; at the end the browser must have nothing to complain of."""
    records = hostile_records(record)
    path = write(records)
    for entry in records[:6]:
        write_run(path.parent / "runs" / entry["cell"])
    yield from opened(browser, path, "--x", "worst_group_accuracy")


def opened(browser: webdriver.Chrome, results: Path, *words: str) -> Iterator[webdriver.Chrome]:
    file = results.parent / "page.html"
    out = results.parent / "report.json"
    assert main([str(results), "--html", str(file), "--out", str(out), *words]) == 0
    browser.get_log("performance")
    browser.get(file.as_uri())
    yield browser
    assert browser.get_log("browser") == []  # errors, warnings, breaches of the policy
    assert browser.execute_script("return window.pwned") is None
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [a for a in addresses if not a.startswith("data:")] == [file.as_uri()]


def find(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector)


def every(page, selector):
    return page.find_elements(By.CSS_SELECTOR, selector)


def order(page) -> list[str]:
    return [cell.text for cell in every(page, ".board:not([hidden]) tbody th")]


def header(page, name):
    (found,) = [h for h in every(page, ".board:not([hidden]) thead th") if h.text == name]
    return found, found.find_element(By.TAG_NAME, "button")


def choose(page, label, value):
    (found,) = [e for e in every(page, "label") if e.text.split("\n")[0].split(" ")[0] == label]
    Select(found.find_element(By.TAG_NAME, "select")).select_by_value(value)


def sorted_names(page, metric, descending):
    """The methods by the means that the JSON report of the same results has."""
    file = Path(page.current_url.removeprefix("file://")).parent / "report.json"
    means = {
        row["method"]: row["metrics"][f"test/P/{metric}"]["mean"]
        for row in json.loads(file.read_text())["rows"]
    }
    known = [name for name in means if means[name] is not None]
    return sorted(known, key=means.__getitem__, reverse=descending)


def test_names_are_shown_as_they_are(page):
    assert order(page) == sorted_names(page, "accuracy", True)
    assert set(order(page)) == {"ERM", *HOSTILE}
    assert every(page, "img") == [] and len(every(page, "script")) == 1
    texts = [text.get_attribute("textContent") for text in every(page, "figure text")]
    assert set(HOSTILE) <= {text.strip() for text in texts}
    assert "window.pwned=3" in find(page, "#warnings").text


@pytest.mark.parametrize("by", ["click", "enter", "space"])
def test_sorting_by_mouse_and_keyboard(page, by):
    def press(button):
        if by == "click":
            button.click()
        else:
            page.execute_script("arguments[0].focus()", button)
            page.switch_to.active_element.send_keys(Keys.ENTER if by == "enter" else Keys.SPACE)

    cell, button = header(page, "worst group accuracy")
    assert cell.get_attribute("aria-sort") == "none"
    press(button)
    assert cell.get_attribute("aria-sort") == "descending"  # the better end first
    assert order(page) == sorted_names(page, "worst_group_accuracy", True)
    press(button)
    assert cell.get_attribute("aria-sort") == "ascending"
    assert order(page) == sorted_names(page, "worst_group_accuracy", False)
    # Lower is better: ascending first. What is undefined stays last.
    cell, button = header(page, "demographic parity difference")
    for state, descending in (("ascending", False), ("descending", True)):
        press(button)
        assert cell.get_attribute("aria-sort") == state
        known = sorted_names(page, "demographic_parity_difference", descending)
        assert len(known) == 4 and order(page) == [*known, HOSTILE[1]]
    sort = [h.get_attribute("aria-sort") for h in every(page, ".board:not([hidden]) thead th")]
    assert sort == ["none", "none", "none", "none", "descending"]
    _, button = header(page, "method")
    press(button)
    assert order(page)[-1] == "ERM"  # letters after signs


def test_every_control_is_reached_by_tab(page):
    focusable = "a[href], button, select:enabled, input, summary, [tabindex='0']"
    visible = [e.id for e in every(page, focusable) if e.is_displayed()]
    reached = []
    for _ in visible:
        page.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(page.switch_to.active_element.id)
    assert reached == visible


def test_toggles_hide_lines(page):
    intervals, versus = every(page, "#toggles input")
    cell = find(page, ".board:not([hidden]) tbody tr:nth-child(2)")
    assert cell.find_element(By.CLASS_NAME, "interval").is_displayed()
    intervals.click()
    assert not cell.find_element(By.CLASS_NAME, "interval").is_displayed()
    assert cell.find_element(By.CLASS_NAME, "versus").is_displayed()
    versus.click()
    assert not cell.find_element(By.CLASS_NAME, "versus").is_displayed()


def test_tables_and_colours_can_be_chosen(page):
    assert [b.get_attribute("data-table") for b in every(page, ".board") if b.is_displayed()] == [
        "test/P"
    ]
    choose(page, "Test", "test/<P0>")
    assert [b.get_attribute("data-table") for b in every(page, ".board") if b.is_displayed()] == [
        "test/<P0>"
    ]
    shown = [svg for svg in every(page, ".board svg") if svg.is_displayed()]
    assert shown
    assert all("test/<P0>" in svg.get_attribute("aria-label") for svg in shown)

    def ink():
        return shown[0].find_element(By.TAG_NAME, "text").value_of_css_property("fill")

    def brightness():
        colour = find(page, "body").value_of_css_property("background-color")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    before, dark = brightness(), ink()
    find(page, "#theme").click()
    after = brightness()
    assert ink() != dark
    assert sorted((before < 200, after < 200)) == [False, True]


def test_runs_are_opened_and_their_figures_are_drawn(page):
    runs = every(page, ".dataset details")
    assert [run.get_attribute("open") is not None for run in runs] == [True, False]
    runs[1].find_element(By.TAG_NAME, "summary").click()
    figures = runs[1].find_elements(By.TAG_NAME, "svg")
    assert len(figures) == 5  # three of errors, two of training
    for svg in figures:
        # Marks are references: they are seen where these are followed.
        marks = svg.find_elements(By.TAG_NAME, "use")
        assert all(mark.rect["height"] + mark.rect["width"] > 0 for mark in marks)
        assert svg.rect["width"] > 250


def test_it_fits_a_telephone_and_can_be_printed(page):
    size = page.get_window_size()
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        page.refresh()
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390
        width = page.execute_script("return document.querySelector('figure svg').clientWidth")
        assert 250 < width <= 390
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.set_window_size(size["width"], size["height"])
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert len(printed["data"]) > 20_000
    page.get_log("performance")  # the second loading of the same page
    page.get(page.current_url)


def test_a_page_of_records_alone_works(browser, record, write):
    for page in opened(browser, write(hostile_records(record))):
        assert len(every(page, ".board:not([hidden]) tbody tr")) == 5
        assert every(page, ".dataset details") == []
        assert find(page, "#lacks").text.count("metrics.csv") == 5
