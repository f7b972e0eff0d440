"""The pages of a cohort's results: whole, offline, and nothing in them is taken for markup."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from liverleaf.results.columns import CaseResult
from liverleaf.results.distributions import Distributions
from liverleaf.results.flow import Flow
from liverleaf.results.page import (
    COLUMNS,
    OVERVIEW_PICTURE,
    STRIP_HEIGHT,
    write_flow_page,
    write_results_page,
)


class Links(HTMLParser):
    """What a page would load, and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.leads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of its links."""
        for name, value in attrs:
            if name == "src" or (tag == "link" and name == "href"):
                self.loaded.append(str(value))
            elif name == "href":
                self.leads.append(str(value))


@pytest.fixture
def page(result_of: Callable[..., CaseResult], tmp_path: Path) -> str:
    """The page of two cases, one with a picture, and of a failure."""
    picture = tmp_path / "case-0" / OVERVIEW_PICTURE
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (800, 221), "red").save(picture)
    results = [result_of(0), result_of(1, types=[])]
    flow, distributions = Flow(refused=Counter({"<b>no</b> slices": 1})), Distributions()
    for result in results:
        flow.add_result(result)
        distributions.add(result)
    failures = [("case-9", "s9", "reading", "<b>no</b> slices")]
    file = tmp_path / "index.html"
    write_results_page(tmp_path, results, failures, flow, distributions, file)
    return file.read_text()


def test_the_page_loads_nothing_and_leads_to_what_is_there(page: str) -> None:
    links = Links()
    links.feed(page)
    assert links.loaded and all(link.startswith("data:image/") for link in links.loaded)
    assert all(not re.match(r"\w+:|/", link) for link in links.leads)
    assert {"case-0/report.html", "case-1/report.html", "flow.html", "lesions.csv"} <= set(
        links.leads
    )
    assert "<script src" not in page and "Research use only" in page


def test_the_thumbnail_is_the_overview_made_small(page: str) -> None:
    (data,) = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    thumbnail = Image.open(io.BytesIO(base64.b64decode(data)))
    assert thumbnail.size == (288, STRIP_HEIGHT)  # 800 x 200 without the caption
    red, green, blue = thumbnail.getpixel((100, 30))
    assert red > 240 and green < 20 and blue < 20


def test_each_row_has_a_key_to_sort_by_in_each_column(page: str) -> None:
    body = page[page.index("<tbody>", page.index('id="cases"')) :]
    rows = re.findall(r"<tr>.*?</tr>", body, flags=re.DOTALL)
    assert len(rows) == 2
    for row in rows:
        assert row.count("data-key=") == 1 + len(COLUMNS)
    keys = [re.findall(r'data-key="([^"]*)"', row) for row in rows]
    lesions, largest = 1 + COLUMNS.index("lesions"), 1 + COLUMNS.index("largest (mm)")
    assert [row[lesions] for row in keys] == ["1.0", "0.0"]
    assert float(keys[0][largest]) > 10 and keys[1][largest] == ""


def test_reasons_are_text_and_no_markup(page: str) -> None:
    assert "&lt;b&gt;no&lt;/b&gt; slices" in page and "<b>no</b>" not in page


def test_a_page_about_nothing_can_be_written(tmp_path: Path) -> None:
    write_results_page(tmp_path, [], [], Flow(), Distributions(), tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert "Not analysed" not in text and "data:image" not in text


def test_the_flow_chart_says_how_many_were_lost_where(
    result_of: Callable[..., CaseResult], tmp_path: Path
) -> None:
    flow = Flow(
        refused=Counter({"no slices": 3}), failed=Counter({"<i>no</i> liver": 2}), waiting=1
    )
    flow.add_result(replace(result_of(0), has_seg=True))
    write_flow_page(flow, tmp_path / "flow.html")
    text = re.sub(r"<style>.*?</style>", "", (tmp_path / "flow.html").read_text(), flags=re.DOTALL)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    for part in (
        "Studies found n = 7",
        "Refused (n = 3) 3 no slices",
        "Studies read n = 4",
        "Analysis failed (n = 2) 2 &lt;i&gt;no&lt;/i&gt; liver",
        "Not failed n = 2",
        "Not done yet (n = 1)",
        "Studies analysed n = 1 CT: 1",
        "with a DICOM SEG: 1",
        "Research use only",
    ):
        assert part in words, part
