"""The page of a training run: means, curves, cases, and what a browser may do with it."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gsam.results.training_page.curves import Curves, charts, ticks
from gsam.results.training_page.scores import Score, difference, lines, means
from gsam.results.training_page.worst import INKS, Case, draw, worst_of
from gsam.results.training_page.write import Run, as_numbers, write_page

NAN = math.nan
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> @style@ 노란"


def disc(y: float, x: float, r: float, size: tuple[int, int] = (60, 80)) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 < r * r)


def case(score: float, label: str = "dog", **given: Any) -> Case:
    pixels = np.full((60, 80, 3), 128, np.uint8)
    truth, found = disc(30, 40, 12), disc(30, 46, 12)
    return Case(**{
        "image": "a.jpg", "pixels": pixels, "truth": truth, "before": found, "after": found, "label": label,
        "prompt": "one click", "before_score": 0.4, "after_score": score, **given,
    })  # fmt: skip


def run(scores: list[Score], worst: list[Case], title: str = "nano", **settings: Any) -> Run:
    curves = Curves({"loss": [(k, 1 / k) for k in range(1, 60)]}, {"one box": [(30, 0.5), (59, 0.8)]})
    return Run(title, settings, scores, worst, curves, 90.0, 59, 2**31)


class Reader(html.parser.HTMLParser):
    """Collects the tags, attributes and cells of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.given: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.given += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_means_are_over_objects_and_over_classes() -> None:
    scores = [
        Score("a", "one box", 3, 0.5, 0.7),
        Score("b", "one box", 1, 0.1, 0.3),
        Score("c", "one box", 5, NAN, 0.9),
    ]
    (mean,) = means(scores)
    assert (mean.count, mean.classes, mean.by_class) == (4, 2, False)
    assert [mean.before, mean.after] == pytest.approx([0.4, 0.6])
    assert [mean.class_before, mean.class_after] == pytest.approx([0.3, 0.5])
    (mean,) = means([Score("a", "AP50", 30, 0.5, 0.7), Score("b", "AP50", 1, 0.1, 0.3)])
    assert mean.by_class
    assert [mean.before, mean.after] == pytest.approx([0.3, 0.5])


def test_without_a_model_before_there_is_a_mean_after() -> None:
    (mean,) = means([Score("a", "accuracy", 4, NAN, 0.5), Score("b", "accuracy", 0, NAN, NAN)])
    assert math.isnan(mean.before)
    assert (mean.after, mean.classes, mean.count) == (0.5, 1, 4)
    assert math.isnan(mean.change)
    assert [difference(value) for value in (NAN, 0.0, 0.1234, -0.2)] == ["–", "±0.000", "+0.123", "−0.200"]


def test_of_many_classes_the_most_frequent_have_lines() -> None:
    found = lines([Score(f"c{k}", "one box", k, 0.5, 0.5) for k in range(300)], most=2)
    assert [line.split()[0] for line in found[2:]] == ["c299", "c298", "and", "all"]
    assert found[4] == "and 298 more classes"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.41, 2.3, [0, 0.5, 1, 1.5, 2, 2.5]), (3, 3, [1, 2, 3, 4, 5]), (0, 0, None)],
)
def test_ticks_are_round_and_enclose(low: float, high: float, expected: list[float] | None) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert expected is None or found == expected
    assert 2 <= len(found) <= 6


def test_curves_leave_out_what_is_not_finite_and_say_so() -> None:
    (loss, evaluation), (other,) = charts(
        Curves(
            {"loss": [(1, 90.0), *((k, 2.0) for k in range(2, 200)), (200, NAN)], "rate": [(1, 1e-5)], "x": [(1, NAN)]},
            {"iou": [(100, 0.5), (200, 0.75)]},
        )
    )
    assert "loss: from 90 to 2 at step 199; 1 not finite" in loss
    assert 'data-range="0 199 1 ' in loss
    assert float(re.findall(r'data-range="\S+ \S+ \S+ (\S+)"', loss)[0]) < 10  # the first step is cut off
    assert evaluation.count('class="dot') == 2
    assert "rate: 1e-05 at step 1" in other
    assert "nan" not in loss + evaluation + other
    assert charts(Curves({}, {})) == ([], [])
    assert charts(Curves({"loss": [(0, 1.0)]}, {}))[0]


def test_long_curves_have_few_points() -> None:
    (loss,), _ = charts(Curves({"loss": [(k, 1.0 + k % 2) for k in range(100_000)]}, {}))
    assert len(loss) < 20_000


def test_the_worst_come_first_and_unknown_scores_last() -> None:
    found = worst_of([case(score) for score in (0.9, NAN, 0.1, 0.5)], most=3)
    assert [c.after_score for c in found] == [0.1, 0.5, 0.9]


def test_a_case_is_drawn_around_its_object() -> None:
    pixels = np.full((600, 900, 3), 128, np.uint8)
    size = (600, 900)
    made = draw(case(0.3, pixels=pixels, truth=disc(300, 450, 20, size), before=None, after=disc(300, 470, 20, size)))
    assert set(made) == {"truth", "after"}
    truth, after = (np.asarray(Image.open(io.BytesIO(made[name]))) for name in ("truth", "after"))
    assert truth.shape == after.shape == (480, 480, 3)
    far = draw(case(0.3, pixels=pixels, truth=disc(300, 450, 20, size), before=None, after=~np.zeros(size, bool)))
    shown = np.asarray(Image.open(io.BytesIO(far["truth"]))).astype(int)
    green = np.abs(shown - INKS["truth"]).sum(-1) < 60
    assert 80 < green.any(0).sum() < 200  # a quarter of the side, not a dot of the whole image
    empty = np.zeros(size, bool)
    assert set(draw(case(0.0, pixels=pixels, truth=empty, before=empty, after=empty))) == {"truth", "before", "after"}


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="after has"):
        case(0.5, after=np.zeros((5, 5), bool))


def test_the_page_allows_its_own_script_and_style_alone(tmp_path: Path) -> None:
    scores = [Score(HOSTILE, HOSTILE, 3, 0.5, 0.7), Score("", "one box", 1, NAN, NAN)]
    page = write_page(
        tmp_path, run(scores, [case(0.2, HOSTILE, image=HOSTILE, prompt=HOSTILE)], HOSTILE, **{HOSTILE: HOSTILE})
    )
    text = page.read_text()
    read = Reader(text)
    assert read.tags.count("script") == 1
    assert read.tags.count("img") == 3
    assert not [name for name, _ in read.given if name == "style" or name.startswith("on")]
    policy = str(next(value for name, value in read.given if name == "content"))
    assert policy.startswith("default-src 'none'; img-src 'self' file:;")
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert HOSTILE in read.text
    links = [value for name, value in read.given if name in ("src", "href") and value and not value.startswith("#")]
    assert set(links) == {
        "results.json", "log.jsonl", "worst/00_truth.jpg", "worst/00_before.jpg", "worst/00_after.jpg"
    }  # fmt: skip
    assert [value for name, value in read.given if name == "alt"][
        1
    ] == f"{HOSTILE} in {HOSTILE}: before training, score 0.400"


def test_a_page_again_is_the_same_and_leaves_nothing_old(tmp_path: Path) -> None:
    scores = [Score("dog", "one box", 3, 0.5, 0.7)]
    first = write_page(tmp_path, run(scores, [case(0.2), case(0.1)])).read_bytes()
    assert len(list((tmp_path / "worst").iterdir())) == 6
    assert write_page(tmp_path, run(scores, [case(0.2), case(0.1)])).read_bytes() == first
    write_page(tmp_path, run(scores, [case(0.1, before=None)]))
    assert sorted(p.name for p in (tmp_path / "worst").iterdir()) == ["00_after.jpg", "00_truth.jpg"]
    assert "not kept" in (tmp_path / "index.html").read_text()
    write_page(tmp_path, run(scores, [case(0.0, after=np.zeros((60, 80), bool))]))
    assert "after <b>0.000</b>, nothing found" in (tmp_path / "index.html").read_text()


def test_a_run_without_scores_cases_or_log_is_a_page_too(tmp_path: Path) -> None:
    empty = Run("", {}, [], [], Curves({}, {}), 0.0, 0, None)
    text = write_page(tmp_path, empty).read_text()
    for note in ("nothing was scored", "No steps were logged", "No cases were kept", "None were given"):
        assert note in text
    assert as_numbers(empty)["means"] == []
    assert json.loads((tmp_path / "results.json").read_text())["peak_memory"] is None


@pytest.mark.long
def test_a_browser_sorts_finds_and_reads(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    scores = [Score(f"c{k}", p, k + 1, 0.5, k / 20) for k in range(14) for p in ("one box", HOSTILE)]
    scores += [Score("unknown", "one box", 0, NAN, NAN)]
    page = write_page(tmp_path, run(scores, [case(0.2, HOSTILE)], HOSTILE))
    with (
        sync_api.sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser,
    ):
        shown = browser.new_page(viewport={"width": 1200, "height": 800})
        wrong: list[str] = []
        shown.on("console", lambda message: wrong.append(message.text))
        shown.on("pageerror", lambda raised: wrong.append(str(raised)))
        shown.goto(page.as_uri())
        rows = shown.locator(".classes tbody th")
        assert rows.all_inner_texts()[0] == "c13"
        shown.get_by_role("button", name="after").first.click()
        shown.get_by_role("button", name="after").first.click()
        assert rows.all_inner_texts()[0] == "c0"
        assert rows.all_inner_texts()[-1] == "unknown"
        shown.locator("#find").fill("C12")
        assert shown.locator(".classes tbody th:visible").all_inner_texts() == ["c12"]
        shown.locator("#measure").select_option("0")
        assert shown.locator(".classes thead tr >> nth=1 >> th:visible").count() == 5
        shown.locator(".plot svg").nth(1).hover()
        assert shown.locator(".reading:visible").inner_text().splitlines()[0] in ("step 30", "step 59")
        shown.set_viewport_size({"width": 320, "height": 640})
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert shown.title().startswith(HOSTILE)
        assert wrong == []
