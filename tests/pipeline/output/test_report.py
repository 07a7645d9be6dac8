"""The report: one file that needs nothing else, that shows the right pictures and numbers, and escapes foreign text."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import quantity
from pipeline.job_record import JobRecord, stored_job
from pipeline.output.report import originals, write_report
from pipeline.output.report.ceiling import Ceiling
from pipeline.output.report.originals import read_originals
from pipeline.output.report.speed import run_speeds
from pipeline.run.driver import run_job
from pipeline.runlog import read_runs
from pipeline.storage import Store
from tests.support.datasets import encoded, picture, street_samples, write_parquet, write_tar
from tests.support.jobs import job
from tests.support.summaries import summary_of

EVIL = "<script>alert(1)<|script>&amp;"


class Page(HTMLParser):
    """Tags with their attributes, and the text outside styles and scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._style = "", False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        self._style = tag in ("style", "script")

    def handle_data(self, data):
        if not self._style:
            self.text += data

    def handle_endtag(self, tag):
        self.text += " "
        self._style = False

    def pictures(self) -> list[tuple[str, Image.Image]]:
        """(alt text, picture) of every image."""
        found = []
        for tag, attributes in self.tags:
            if tag == "img":
                head, _, data = (attributes["src"] or "").partition(",")
                assert head == "data:image/jpeg;base64"
                found.append((attributes["alt"] or "", Image.open(io.BytesIO(base64.b64decode(data)))))
        return found


def samples() -> dict[str, dict[str, bytes]]:
    """Twelve good samples with labels and a true target, and some that are refused."""
    found = street_samples([f"k{n:02d}" for n in range(12)])
    for n, members in enumerate(found.values()):
        box = {"bbox": [2.0 + n, 3.0, 10.5, 12.0], "category_id": 1, "area": 126.0, "iscrowd": 0}
        line = {"segmentation": [[1, 2, 30, 4, 5, 20]], "category_id": 2, "area": 9.0, "iscrowd": 0}
        members["json"] = json.dumps({"annotations": [box, line]}).encode()
        members["jpg"] = encoded(picture(n + 100))
        members["target.png"] = encoded(picture(n + 50), "PNG")
    found["k03"]["txt"] = b"<b>bold</b> & \xe2\x80\xae more"
    for n in range(5):
        found[f"broken{n}"] = {"jpg": b"\xff\xd8\xff rubbish"}
    found[EVIL] = {"jpg": b"<i>x</i>"}
    return found


def make(root: Path, **changes: Any) -> Path:
    write_tar(root / "in" / "a.tar", samples())
    spec = job(
        root / "in", root / "out", output__shard_size=5, metrics=["psnr", "structure"], name="<u>x</u>", **changes
    )
    run_job(spec, local=True)
    return root / "out"


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("report"))


def again(out: Path, **changes: Any) -> Page:
    """The report of an output as `finalise` asks for it, with some arguments replaced."""
    store = Store(str(out))
    arguments: dict[str, Any] = {
        "record": stored_job(store),
        "store": store,
        "index": pq.read_table(out / "index.parquet"),
        "summary": summary_of(json.loads(store.read("metrics.json"))),
        "runs": read_runs(store),
    }
    return Page(write_report(**(arguments | changes)))


def nearest(image: Image.Image, candidates: dict[str, np.ndarray]) -> str:
    """Which of these pictures this is, through JPEG."""
    shown = np.asarray(image.convert("RGB")).astype(float)
    distance = {name: float(np.abs(shown - pixels).mean()) for name, pixels in candidates.items()}
    assert min(distance.values()) < 12
    return min(distance, key=lambda name: distance[name])


def test_the_page_needs_nothing_else(out):
    html = (out / "report" / "index.html").read_text()
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"link", "iframe", "object", "embed", "base", "form", "video", "audio", "use"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "srcset", "data", "action", "xlink:href"):
                assert (value or "").startswith("data:image/jpeg;base64,")
            if name == "href":
                assert (value or "").startswith("#")
        if tag == "meta" and attributes.get("http-equiv"):
            script = re.findall(r"<script>(.*?)</script>", html, re.S)
            assert len(script) == 1
            digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
            policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
            assert attributes["content"] == policy
    kinds = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert kinds == ["application/json", None]
    assert "url(" not in html
    assert "@import" not in html
    targets = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    assert {(a["href"] or "")[1:] for tag, a in page.tags if tag == "a"} <= targets


def test_foreign_text_stays_text(out):
    page = again(out)
    assert not {"b", "i", "u"} & {tag for tag, attributes in page.tags if not attributes.get("class")}
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 2
    assert EVIL in page.text
    assert "<b>bold</b> & \u202e more" in page.text
    assert "it begins with b'<i>x</i>'" in page.text
    assert "<u>x</u>" in page.text


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
@pytest.mark.parametrize("pairs", [False, True])
def test_source_output_and_target_are_shown(tmp_path, format, pairs):
    out = make(tmp_path, output__format=format, output__pairs=pairs)
    if pairs:
        (tmp_path / "in" / "a.tar").unlink()
    pictures = dict(again(out).pictures())
    assert len(pictures) == 36
    candidates = {}
    for n in range(12):
        source = picture(100 + n)
        candidates |= {f"source of k{n:02d}": source, f"output of k{n:02d}": 255 - source}
        candidates[f"true target of k{n:02d}"] = picture(50 + n)
    for name, shown in pictures.items():
        assert nearest(shown, candidates) == name


def test_labels_are_drawn_where_they_are(out):
    page = again(out)
    shapes = [(tag, attributes) for tag, attributes in page.tags if tag in ("polygon", "polyline")]
    assert len(shapes) == 12 * 3 * 2
    assert {attributes["points"] for _, attributes in shapes} >= {
        "2.0,3.0 12.5,3.0 12.5,15.0 2.0,15.0",
        "1.0,2.0 30.0,4.0 5.0,20.0",
    }
    boxes = [attributes["viewbox"] for tag, attributes in page.tags if tag == "svg" and "plot" not in str(attributes)]
    assert set(boxes) == {"0 0 48 32"}


def test_counts_reasons_and_metrics_are_on_the_page(out):
    page = again(out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["rows"] == {"attempted": 18, "ok": 12, "filtered": 0, "rejected": 6}
    text = " ".join(page.text.split())
    assert "12 translated, 0 filtered, 6 rejected" in text
    assert "truncated prepare 5 broken0" in text
    assert "not_an_image prepare 1" in text
    low, high = metrics["columns"]["psnr"]["ci95"]
    assert f"95 %: {quantity.measured(low)} to {quantity.measured(high)}" in text
    assert "fingerprint " + json.loads((out / "_sceneshift/job.json").read_text())["fingerprint"] in text


def test_an_interrupted_job_says_so(tmp_path):
    out = make(tmp_path)
    assert "not finished" not in again(out).text
    next((out / "index").glob("*.parquet")).unlink()
    assert "1 of 4 shards is not committed" in again(out).text


def test_without_source_the_output_is_shown_alone(tmp_path):
    out = make(tmp_path)
    (tmp_path / "in" / "a.tar").unlink()
    page = again(out)
    assert len(page.pictures()) == 24
    assert page.text.count("source not shown: it cannot be read any more") == 12 + 6


def test_a_source_that_changed_is_not_shown(tmp_path):
    out = make(tmp_path)
    changed = samples()
    changed["k00"]["jpg"] = encoded(picture(77))
    del changed["k11"]
    write_tar(tmp_path / "in" / "a.tar", changed)
    text = again(out).text
    assert text.count("source not shown: it has changed since") == 1
    # The place of k11 is taken by the sample after it, and so on through the six that were rejected.
    assert text.count("source not shown: it is no longer in its file") == 1 + 6


def test_a_damaged_output_still_has_a_report(tmp_path):
    out = make(tmp_path)
    first, second, *_ = sorted((out / "data").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:100])
    page = again(out)
    assert page.text.count("the data file cannot be read") == 10
    assert len(page.pictures()) == 12 + 2 * 2


@pytest.mark.parametrize("format", ["webdataset", "parquet", "folder", "manifest"])
def test_sources_of_every_format_are_read_again(tmp_path, format):
    data = street_samples([f"k{n}" for n in range(11)])
    source = tmp_path / "in"
    if format == "webdataset":
        write_tar(source / "a.tar", {"bad": {"txt": b"no picture"}, **data})
    elif format == "parquet":
        write_parquet(source / "a.parquet", data)
    else:
        (source / "images").mkdir(parents=True)
        for key, members in data.items():
            (source / "images" / f"{key}.jpg").write_bytes(members["jpg"])
        if format == "manifest":
            (source / "a.csv").write_text("uri\n" + "".join(f"images/{key}.jpg\n" for key in data))
    run_job(job(source if format != "manifest" else source / "a.csv", tmp_path / "out", variants=2), local=True)
    store = Store(str(tmp_path / "out"))
    rows = [row for row in pq.read_table(tmp_path / "out" / "index.parquet").to_pylist() if row["status"] == "ok"]
    record = stored_job(store)
    assert record is not None
    found = read_originals(rows, record, store)
    assert len(found) == 22
    for (_, key, _), image in found.items():
        assert image == data[key.rpartition("/")[2]]["jpg"]
    late = read_originals(rows, record, store, seconds=-1)
    assert set(late.values()) == {"source not shown: reading it again takes too long"}


def test_only_the_shown_samples_are_fetched(tmp_path, monkeypatch):
    out = make(tmp_path)
    fetched = []
    real = originals.open_source

    def counting(*arguments):
        source = real(*arguments)
        read = source.read

        def reading(*arguments):
            for shard in read(*arguments):
                fetched.append(shard.samples[0].key)
                yield shard

        object.__setattr__(source, "read", reading)
        return source

    monkeypatch.setattr(originals, "open_source", counting)
    page = again(out, gallery=4)
    shown = [attributes["data-key"] or "" for tag, attributes in page.tags if tag == "article"]
    assert sorted(fetched) == sorted(shown)
    assert len([key for key in shown if (key or "").startswith("k")]) < 12


def test_an_index_too_large_to_merge_is_sampled(out):
    metrics = json.loads((out / "metrics.json").read_text())
    metrics["rows"]["attempted"] = 9_000_000
    metrics["reasons"] = {"truncated": 70, "unseen": 9}
    page = again(out, index=None, summary=summary_of(metrics))
    text = " ".join(page.text.split())
    assert "come from 18 of its 9,000,000 rows" in text
    assert "truncated prepare 70" in text
    assert "unseen" in text
    assert len(page.pictures()) == 36


def test_an_output_without_rows_or_runs_has_a_report(tmp_path, out):
    metrics = {"rows": {"attempted": 0, "ok": 0, "filtered": 0, "rejected": 0}, "reasons": {}, "columns": {}}
    page = again(out, store=Store(str(tmp_path)), index=None, runs=None, summary=summary_of(metrics))
    assert "nothing to show" in page.text
    assert "No run log" in page.text
    assert page.pictures() == []


def test_filtered_samples_are_shown_with_their_metrics(tmp_path):
    out = make(tmp_path, keep="psnr > 1000")
    text = " ".join(again(out).text.split())
    assert "They were translated and then not kept by psnr > 1000" in text
    assert re.search(r"filtered keep 12 k00 psnr [\d.]+, psnr_target [\d.]+, structure", text)


def half_of(out: Path) -> str:
    """A filter that half of the pictures of this output meet."""
    values = pq.read_table(out / "index.parquet")["metric.psnr"].drop_null().to_numpy()
    return f"psnr > {np.median(values):.6f} and structure < 1"


def test_galleries_show_both_ends_and_what_was_not_kept(tmp_path, out):
    keep = half_of(out)
    out = make(tmp_path, keep=keep)
    rows = pq.read_table(out / "index.parquet").to_pylist()
    page = again(out)
    shown = {a["data-key"]: (a["data-groups"] or "").split() for tag, a in page.tags if tag == "article"}
    good = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: row["metric.psnr"])
    assert "low:psnr" in shown[good[0]["key"]]
    assert "high:psnr" in shown[good[-1]["key"]]
    filtered = [row["key"] for row in rows if row["status"] == "filtered"]
    assert filtered
    assert all("filtered" in shown[key] for key in filtered[:8])
    assert "rejected" in shown["broken0"]
    text = " ".join(page.text.split())
    assert "best psnr" in text
    assert "worst structure" in text
    # a filtered sample has no picture in the data; its source is shown, and why it is out
    alts = [alt for alt, _ in page.pictures() if alt.endswith(filtered[0])]
    assert alts == [f"source of {filtered[0]}"]
    assert f"not kept by: {keep}" in text


def test_a_page_stays_within_its_size_and_says_what_had_no_room(out, monkeypatch):
    from pipeline.output.report import gallery

    monkeypatch.setattr(gallery, "MOST_BYTES", 20_000)
    page = again(out)
    shown = [attributes for tag, attributes in page.tags if tag == "article"]
    assert 0 < len(shown) < 18
    assert f"{18 - len(shown)} more had no room on this page" in " ".join(page.text.split())


def test_admission_and_cost_are_on_the_page(tmp_path, out):
    keep = half_of(out)
    out = make(tmp_path, keep=keep, compute__price_per_hour=3.6)
    text = " ".join(again(out).text.split())
    rows = pq.read_table(out / "index.parquet").to_pylist()
    ok, low = (sum(row["status"] == status for row in rows) for status in ("ok", "filtered"))
    assert f"all 18 {ok} {quantity.share(ok, 18)} {low} 0 6" in text
    assert ok == low == 6
    assert "not {} not {}".format(*keep.split(" and ")) in text
    runs = read_runs(Store(str(out))).to_pylist()
    seconds = max(row["committed"] for row in runs) - min(row["started"] for row in runs)
    workers = len({row["worker"] for row in runs})
    assert f"{quantity.measured(workers * seconds * 1000 / 18 / 1000)} in money" in text


def test_the_speed_of_light_is_on_the_page(out):
    table = read_runs(Store(str(out)))
    assert "not known: no operations of the method are counted in this run" in " ".join(again(out).text.split())
    columns = table.schema.names
    for device, said in (("NVIDIA H100 PCIe", "at most on 1 x H100 PCIe"), ("cpu", "no ceiling is known of a CPU")):
        known = table.set_column(columns.index("device"), "device", pa.array([device] * table.num_rows))
        known = known.set_column(columns.index("operations"), "operations", pa.array([10**9] * table.num_rows))
        (speed,) = run_speeds(known)
        most = Ceiling.of(speed, "float32", 1).most
        text = " ".join(again(out, runs=known, record=with_gpus(out, 1)).text.split())
        line = text[text.index("Speed of light") :]
        assert said in line
        assert f"made {quantity.measured(speed.mean)} images/s" in line
        assert f"the method alone {quantity.measured(speed.unhindered)}" in line
        assert "1.000 GFLOP" in line
        if most is not None:
            assert f"leave {quantity.measured(most)} at most" in line
            assert f"reached {quantity.share(speed.mean, most)} of that" in line


def with_gpus(out: Path, gpus: float) -> JobRecord:
    """An output's record, of workers with so many GPUs."""
    record = stored_job(Store(str(out)))
    assert record is not None
    compute = record.spec.compute.model_copy(update={"gpus": gpus})
    return record.model_copy(update={"spec": record.spec.model_copy(update={"compute": compute})})


def test_machines_are_listed_where_there_are_several(out):
    table = read_runs(Store(str(out)))
    assert "Machines of run" not in again(out).text
    hosts = pa.array([f"host{number % 2}<i>:1" for number in range(table.num_rows)])
    page = again(out, runs=table.set_column(table.schema.get_field_index("worker"), "worker", hosts))
    assert "Machines of run" in page.text
    assert "host0<i>" in page.text
    assert "of the method alone" in page.text


def test_the_time_line_keeps_overlapping_shards_apart():
    from pipeline.output.report.plots import timeline
    from pipeline.output.report.speed import ShardSpan

    spans = [ShardSpan("w:1", "a", 0, 2, 3, 4), ShardSpan("w:1", "b", 1, 4, 5, 4), ShardSpan("w:1", "c", 3, 6, 7, 4)]
    drawing = str(timeline(spans, "t"))
    rows = re.findall(r'<rect class="bar" x="[\d.]+" y="([\d.]+)"', drawing)
    assert rows[0] == rows[2] != rows[1]
    assert "a: 4 images, 3.0 s; written in 1.0 s" in drawing
