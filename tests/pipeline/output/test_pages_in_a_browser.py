"""Report and comparison in a headless Chromium: light and dark, on a phone and on a desk, without a script error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.job_record import stored_job
from pipeline.output.compare.compare import compare, comparison_page
from pipeline.run.driver import run_job
from pipeline.storage import Store
from tests.support.browser import CHROMIUM, Tab, tab
from tests.support.datasets import street_samples, write_tar
from tests.support.jobs import index_rows, job

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
HOSTILE = "<img src=x onerror=\"document.title='ran'\"><|script><script>document.title='ran'<|script>"
HOSTILE_KEY = "<img src=x><b>k<|b>"
"""A key has no dot in a tar."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    with tab() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with labels, filtered and rejected samples and hostile text everywhere, and a comparison."""
    root = tmp_path_factory.mktemp("pages")
    samples = street_samples([f"k{n:02d}" for n in range(9)])
    for number, members in enumerate(samples.values()):
        named = [(1, "car"), (2, HOSTILE)]
        boxes = [
            {"bbox": [2.0 + number, 3, 10, 12], "category_id": id, "category": name, "area": 120, "iscrowd": 0}
            for id, name in named
        ]
        members["json"] = json.dumps({"annotations": boxes}).encode()
        members["txt"] = HOSTILE.encode()
    samples[HOSTILE_KEY] = dict(samples["k00"])
    samples["broken"] = {"jpg": b"\xff\xd8\xff rubbish"}
    write_tar(root / "in" / "a.tar", samples)
    run_job(job(root / "in", root / "probe", metrics=["psnr"]), local=True)
    values = sorted(row["metric.psnr"] for row in index_rows(root / "probe") if row["metric.psnr"] is not None)
    for name, method in (("a", "invert"), ("b", "null")):
        keep = f"psnr > {values[3]:.6f} and structure < 2" if name == "a" else None
        spec = job(
            root / "in",
            root / name,
            method={"name": method},
            metrics=["psnr", "ssim", "structure"],
            keep=keep,
            source__labels={"check": {"detector": "bundled://street-detector"}},
            name=HOSTILE,
            output__shard_size=4,
            compute__price_per_hour=2.0,
        )
        run_job(spec, local=True)
    opened = []
    for name in ("a", "b"):
        store = Store(str(root / name))
        record = stored_job(store)
        assert record is not None
        opened.append((store, record))
    (root / "compare.html").write_text(comparison_page(compare(opened)), encoding="utf-8")
    return {"report": root / "a" / "report" / "index.html", "compare": root / "compare.html"}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_page_fits_and_runs_nothing_of_the_data(browser: Tab, pages, name: str, width: int, dark: bool):
    browser.problems.clear()
    browser.open(pages[name], width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.title") != "ran"
    classes = browser.run("[...document.querySelectorAll('.survival td:first-child')].map(e => e.textContent)")
    assert {"all", "car", HOSTILE} <= set(classes)
    assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    text = browser.run("document.body.textContent")
    assert HOSTILE in text
    assert (HOSTILE_KEY in text) == (name == "report")
    assert browser.requests == []
    light = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(18, 20, 23)") == dark
    browser.run("document.querySelector('#theme').click()")
    assert browser.run("getComputedStyle(document.body).backgroundColor") != light
    assert browser.problems == []


def test_galleries_boxes_and_modes_answer(browser: Tab, pages):
    browser.problems.clear()
    browser.open(pages["report"], 1280)
    visible = "[...document.querySelectorAll('article.pair')].filter(e => !e.hidden).length"
    every = browser.run("document.querySelectorAll('article.pair').length")
    assert 0 < browser.run(visible) < every
    change = "const s = document.querySelector('#group'); s.value = '{}'; s.dispatchEvent(new Event('change'))"
    browser.run(f"(() => {{ {change.format('')} }})()")
    assert browser.run(visible) == every
    browser.run(f"(() => {{ {change.format('rejected')} }})()")
    assert browser.run(visible) == 1
    browser.run(f"(() => {{ {change.format('spread')} }})()")
    drawn = "[...document.querySelectorAll('.frame svg polygon')].filter(e => e.checkVisibility()).length"
    assert browser.run(drawn) == 0
    browser.press("b")
    both = browser.run(drawn)
    assert both > 0
    browser.run("document.querySelector('.legend input[data-class=\"car\"]').click()")
    assert browser.run(drawn) == both / 2
    browser.run("document.activeElement.blur()")
    browser.press("m")
    assert browser.run("document.querySelector('main').dataset.mode") == "slider"
    browser.run(
        "(() => { const c = document.querySelector('.cut'); c.value = 20; c.dispatchEvent(new Event('input')) })()"
    )
    clip = "getComputedStyle(document.querySelector('.is-source .frame')).clipPath"
    assert browser.run(clip) == "inset(0px 80% 0px 0px)"
    overlaid = (
        "(() => { const [s, o] = ['source', 'output'].map(n => document.querySelector('.is-' + n + ' img')"
        ".getBoundingClientRect()); return [s.left - o.left, s.top - o.top, s.width - o.width] })()"
    )
    assert browser.run(overlaid) == [0, 0, 0]
    assert browser.problems == []


def test_keys_walk_through_the_samples(browser: Tab, pages):
    browser.open(pages["report"], 1280)
    focused = "document.activeElement.dataset.key"
    browser.press("ArrowRight")
    first = browser.run(focused)
    browser.press("ArrowRight")
    assert browser.run(focused) != first
    browser.press("ArrowLeft")
    assert browser.run(focused) == first


def test_the_scatter_plot_follows_its_choices_and_leads_to_pictures(browser: Tab, pages):
    browser.open(pages["report"], 1280)
    browser.run(
        "(() => { const y = document.querySelector('#scatter-y'); y.value = 'ssim';"
        " y.dispatchEvent(new Event('change')) })()"
    )
    assert browser.run("document.querySelector('#scatter svg').getAttribute('aria-label')") == "ssim against psnr"
    assert browser.run("document.querySelectorAll('#scatter circle').length") == 10
    browser.run("document.querySelector('#scatter circle.leads').dispatchEvent(new Event('click'))")
    key = browser.run("document.activeElement.dataset.key")
    assert browser.run("document.querySelector('#scatter-said').textContent").startswith(key)
    browser.run("document.querySelector('button.copy').click()")
    assert browser.run("document.querySelector('#job-file').textContent").startswith("name: ")
