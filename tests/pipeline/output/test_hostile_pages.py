"""Markup in every text that data and specs bring, opened in a headless Chromium: no script runs, no request leaves.

Cards are made into HTML by a renderer that lets HTML through, as those of hubs do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from markdown_it import MarkdownIt

from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.markdown import cell, code, fenced
from pipeline.output.export.run import ExportOptions, export_folder
from pipeline.run.driver import run_job
from pipeline.storage import Store
from pipeline.training.record import TrainingRecord
from pipeline.training.report.page import write_training_report
from pipeline.training.spec import TrainSpec
from tests.support.browser import CHROMIUM, Tab, tab
from tests.support.datasets import street_samples, write_parquet
from tests.support.jobs import job

in_a_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
AWAY = "http://127.0.0.1:9/away"
FILE = "<img src=x onerror=\"document.title='ran'\">"
"""A file's name has no slash."""
HOSTILE = "\n".join(
    [
        "a street",
        FILE,
        "<script>document.title='ran'</script></script></style></title></pre></code>",
        "\"'><svg onload=\"document.title='ran'\">",
        f"<!-- --><iframe src={AWAY}></iframe><link rel=stylesheet href={AWAY}>",
        f"<meta http-equiv=refresh content='0;url={AWAY}'><base href={AWAY}>",
        f"![]({AWAY}) | ![x][away] |",
        "",
        f"[away]: {AWAY}",
        "",
        "    code",
        "```",
        "~~~",
        "---",
        f"<img src={AWAY}>",
        "`` ``` ` {{ 7 * 7 }} {% raw %} <?php ?> & &lt;img&gt;",
    ]
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    with tab() as found:
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output, its export and a training's report, all of whose texts are hostile."""
    root = tmp_path_factory.mktemp("hostile")
    source = root / f"in {FILE}"
    write_parquet(source / f"{FILE}.parquet", street_samples(["a", "b", "c"]))
    table = pq.read_table(source / f"{FILE}.parquet")
    texts = [HOSTILE] * 3
    table = table.set_column(0, "key", [[f"{FILE}{n}" for n in range(3)]]).set_column(2, "caption", [texts])
    table = table.append_column(HOSTILE, [texts])
    pq.write_table(table, source / f"{FILE}.parquet")
    (source / f"{FILE}.{FILE}").write_bytes(b"no picture")
    labels = root / "labels.json"
    box = {"image_id": 1, "category_id": 1, "bbox": [2, 2, 9, 9], "area": 81, "iscrowd": 0}
    coco = {
        "images": [{"id": 1, "file_name": f"{FILE}0", "width": 48, "height": 32}],
        "annotations": [{**box, "id": 1}, {**box, "id": 2, "bbox": [HOSTILE]}],
        "categories": [{"id": 1, "name": HOSTILE}],
    }
    labels.write_text(json.dumps(coco))
    spec = job(
        source,
        root / "out",
        name=HOSTILE,
        metrics=["psnr"],
        source__labels={"format": "coco", "uri": str(labels)},
        source__caption="caption",
    )
    run_job(spec, local=True)
    store = Store(str(root / "out"))
    record = stored_job(store)
    assert record is not None
    export_folder(Job.from_record(record, store), Store(str(root / "export")), ExportOptions(format="hf"))
    training(root / "training")
    return root


def training(out: Path) -> None:
    """Report and card of a training that never ran: they are made from its output alone."""
    out.mkdir()
    rows = [{"step": step, "seconds": step, HOSTILE: 1.0 / step} for step in (1, 2)]
    for name in ("log.jsonl", "validation.jsonl"):
        (out / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    tree = {
        "name": HOSTILE,
        "objective": {"name": "pix2pix"},
        "data": {"pairs": {"uri": f"/data/{FILE}", "image": "png", "target": "target.png"}},
        "validation": {"count": 1, "method": {"name": "pix2pix", "params": {HOSTILE: HOSTILE}}},
        "output": {"uri": str(out)},
        "steps": 2,
    }
    record = TrainingRecord(
        2, "steps", "model.safetensors", {HOSTILE: 1}, {HOSTILE: {"size": 1, "held_out": 1}}, HOSTILE
    )
    comparison = {"pictures": 1, "columns": [HOSTILE], "rows": [{"name": HOSTILE, "cells": [HOSTILE]}]}
    write_training_report(TrainSpec.parse(tree), Store(str(out)), record, comparison)


def rendered(card: Path) -> Path:
    """A card as a page, by a renderer that keeps its HTML; its front matter left out."""
    _, _, text = card.read_text(encoding="utf-8").split("---\n", 2)
    page = card.with_name("rendered.html")
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    page.write_text(f"<!doctype html><meta charset=utf-8><title>card</title><body>{body}", encoding="utf-8")
    return page


@pytest.mark.parametrize("place", ["out/report/index.html", "training/report.html"])
class TestPages:
    pytestmark = in_a_browser

    def test_a_page_shows_the_text_and_does_nothing_of_it(self, browser: Tab, made: Path, place: str) -> None:
        browser.problems.clear()
        browser.open(made / place, 1280)
        assert browser.run("document.title") != "ran"
        assert HOSTILE.replace("\n", "") in browser.run("document.body.textContent.replaceAll('\\n', '')")
        assert browser.run("document.querySelectorAll('iframe, base, link, img:not([src^=data])').length") == 0
        assert (browser.requests, browser.problems) == ([], [])


@pytest.mark.parametrize("place", ["out/README.md", "training/README.md", "export/README.md"])
class TestCards:
    pytestmark = in_a_browser

    def test_a_card_shows_the_text_and_does_nothing_of_it(self, browser: Tab, made: Path, place: str) -> None:
        browser.problems.clear()
        browser.open(rendered(made / place), 1280)
        assert browser.run("document.title") == "card"
        assert browser.run("document.querySelector('h1').textContent") == " ".join(HOSTILE.split())
        assert browser.run("document.querySelectorAll('iframe, base, link, script, svg, img').length") == 0
        assert (browser.requests, browser.problems) == ([], [])


@pytest.mark.parametrize("place", ["out/README.md", "training/README.md", "export/README.md"])
def test_front_matter_has_the_keys_of_ours_alone(made: Path, place: str) -> None:
    _, matter, _ = (made / place).read_text(encoding="utf-8").split("---\n", 2)
    ours = {"pretty_name", "tags", "task_categories", "size_categories", "configs", "dataset_info"}
    assert yaml.safe_load(matter).keys() <= ours | {"library_name", "pipeline_tag"}


@pytest.mark.parametrize(
    "text", [HOSTILE, *filter(None, HOSTILE.splitlines()), "`", "a`", "``", "\\", "\\`", "```\n<b>"]
)
def test_markdown_reads_foreign_text_as_text(text: str) -> None:
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    (line,) = (token for token in markdown.parse(f"x {cell(text)} y") if token.type == "inline")
    assert "".join(child.content for child in line.children or []) == " ".join(f"x {text} y".split())
    (line,) = (token for token in markdown.parse(f"x {code(text)} y") if token.type == "inline")
    assert {child.type for child in line.children or []} <= {"text", "code_inline"}
    (block,) = markdown.parse(fenced(text, "yaml"))
    assert (block.type, block.info, block.content.rstrip()) == ("fence", "yaml", text.rstrip())
