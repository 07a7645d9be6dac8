"""Captions that the translation makes untrue are named before the work, and `labels.caption` makes others of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from methods.errors import InputError
from pipeline.job import prepare
from pipeline.labels.changes import LabelChanges
from pipeline.labels.stale_captions import stale_word
from pipeline.run import targets
from pipeline.run.driver import Order, run_job
from tests.support.datasets import encoded, picture
from tests.support.jobs import data_rows, index_rows, job
from tests.support.label_files import write_files

PHOTO = encoded(picture(1), "PNG")
NIGHT = {"timeofday": "night"}


def stale(outcome: Any) -> list[str]:
    return [each for each in outcome.warnings if " says '" in each]


@pytest.mark.parametrize(
    ("changed", "text", "word"),
    [
        (NIGHT, "a street in the Day", "Day"),
        (NIGHT, "a sunny avenue", "sunny"),
        (NIGHT, "a street at dusk", "dusk"),
        (NIGHT, "a street at night with a Saturday market, today", None),
        (NIGHT, "a street", None),
        ({"timeofday": "daytime"}, "many cars at night", "night"),
        ({"timeofday": "late evening"}, "many cars in the day", None),
        ({"weather": "rainy"}, "an avenue under a clear sky", "clear sky"),
        ({"weather": "rainy"}, "a clear view of an overcast avenue, foggy", None),
        ({"weather": "clear"}, "a street in the rain", "rain"),
        ({"scene": "highway"}, "a city street with a bus", "city street"),
        ({"scene": "city street"}, "a city street with a bus", None),
        ({"lit": "true"}, "a false start", None),
    ],
)
def test_words_that_are_not_true_any_more(changed: dict[str, str], text: str, word: str | None) -> None:
    said = {"scene": "city street", "timeofday": "daytime", "lit": "false"}
    found = stale_word(text, changed, said)
    assert found == (None if word is None else (next(iter(changed)), word))


def test_words_of_captions_are_replaced_whole_in_any_case_and_once() -> None:
    changes = LabelChanges(caption={"day": "night", "night": "day", "in the day": "at night", "a+b": r"\1"})
    assert changes.captioned("A Day in the day, today, by night, a+b") == r"A night at night, today, by day, \1"
    assert changes.captioned(None) is None


@pytest.mark.parametrize(
    ("caption", "becomes", "words"),
    [
        (None, "a street in the day", "'caption' of a says 'day', but pictures of night-job have timeofday: night"),
        ("{caption}, at night", "a street in the day, at night", "'caption' of a says 'day'"),
        ({"in the day": "at night"}, "a street at night", None),
        ("a street at night", "a street at night", None),
    ],
)
def test_a_caption_that_says_day_beside_a_night_is_said(
    tmp_path: Path, caption: Any, becomes: str, words: str | None
) -> None:
    write_files(tmp_path / "in", {"a.png": PHOTO, "a.caption": "a street in the day", "a.cls": "day 3"})
    spec = job(
        tmp_path / "in",
        tmp_path / "out",
        name="night-job",
        method__preset="night",
        source__labels={"caption": caption},
    )
    outcome = run_job(spec, local=True)
    assert [each["caption"] for each in index_rows(tmp_path / "out")] == [becomes]
    said = stale(outcome)
    assert len(said) == (words is not None)
    assert words is None or (words in said[0] and "source.labels.caption" in said[0])


def test_of_two_texts_the_one_that_passes_through_is_said_too_and_other_columns_are_not(tmp_path: Path) -> None:
    rows = [
        {"image": PHOTO, "caption": None, "captions": ["a street", "by daylight"], "name": "day", "other": ["sunny"]},
        {"image": PHOTO, "caption": "at noon", "captions": [], "name": "day", "other": None},
    ]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in/a.parquet")
    outcome = run_job(job(tmp_path / "in", tmp_path / "out", method__preset="night"), local=True)
    assert [(each.split("'")[1], each.split("'")[3], "source.carry" in each) for each in stale(outcome)] == [
        ("captions", "daylight", True),
        ("caption", "noon", False),
    ]
    assert all(row["name"] == "day" for row in data_rows(tmp_path / "out").values())


def test_captions_of_label_files_are_looked_at(tmp_path: Path) -> None:
    captions = [{"id": 1, "image_id": 0, "caption": "a bus by day"}]
    document = {"images": [{"id": 0, "file_name": "a.png"}], "annotations": captions, "categories": []}
    write_files(tmp_path, {"in/a.png": PHOTO, "labels.json": document})
    labels = {"uri": str(tmp_path / "labels.json")}
    for preset, count in (("night", 1), ("plain", 0)):
        spec = job(tmp_path / "in", tmp_path / preset, method__preset=preset, source__labels=labels)
        assert len(stale(run_job(spec, local=True))) == count


def test_captions_of_a_target_beside_the_first_are_said(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a.png": PHOTO, "a.txt": "a street in the day"})
    both = {"plain": {}, "night": {"method": {"preset": "night"}}}
    outcomes = targets.run_targets(job(tmp_path / "in", tmp_path / "out", targets=both), Order(local=True), fresh=False)
    (said,) = [line for outcome in outcomes.values() for line in stale(outcome)]
    assert "'txt' of a says 'day'" in said
    assert "-night have timeofday: night" in said


def test_words_that_are_none_are_refused_and_those_of_a_job_are_recorded_and_carded(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a.png": PHOTO, "a.txt": "a street in the day"})
    for wrong in ({}, {" ": "x"}):
        with pytest.raises(InputError, match="name the words to be replaced"):
            job(tmp_path / "in", tmp_path / "out", source__labels={"caption": wrong})
    spec = job(tmp_path / "in", tmp_path / "out", source__labels={"caption": {"in the day": "at night"}})
    plain = prepare(job(tmp_path / "in", tmp_path / "out"))
    assert prepare(spec).fingerprint != plain.fingerprint
    run_job(spec, local=True)
    assert "in captions `in the day` became `at night`" in (tmp_path / "out/README.md").read_text()
