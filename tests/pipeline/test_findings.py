"""What was found, in words that are right for one and for many."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.findings import Finding, merge
from pipeline.sources.folder import FolderSource
from pipeline.spec import SourceSpec
from tests.support.datasets import encoded, picture
from tests.support.label_files import write_files

PNG = encoded(picture(0), "PNG")
SINGULAR = re.compile(r"\b(is|has|belongs|looks|passes|it|its|this file)\b")


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (Finding("file", ".zip", "packed", 1, ("a",)), "1 file '.zip' (a): packed"),
        (Finding("file", ".zip", "packed", 1200, ("a", "b", "c")), "1,200 files '.zip' (a, b, c, ...): packed"),
        (Finding("labels", "ann", "not read", 3, ("a", "b", "c")), "3 label files 'ann' (a, b, c): not read"),
        (Finding("depth", "dark", "dim", 2, ("a", "b")), "2 pictures 'dark' (a, b): dim"),
        (Finding("column", "date", "no type"), "column 'date': no type"),
        (Finding("column", "date", "no type", 2, ("a", "b")), "column 'date' of 2 files (a, b): no type"),
    ],
)
def test_what_was_found_is_a_counted_noun(finding: Finding, text: str) -> None:
    assert finding.text() == text


def test_what_a_folder_holds_beside_pictures_is_said_of_one_and_of_many(tmp_path: Path) -> None:
    """Equal reasons are counted together, so none may speak of one file."""
    files: dict[str, str | bytes] = {"a.png": PNG}
    for n in range(2):
        files |= {
            f"ann/a{n}.json": '{"annotations": [], "bbox": [1]}',
            f"all{n}.json": '{"annotations": [], "images": []}',
            f"{n}.zip": b"PK",
            f"{n}.psd": b"x",
            f"{n}.md": "text",
            f"{n}.blob": PNG,
            f"{n}.odd": b"x",
            f".hidden/{n}.png": PNG,
            f"{n}/metadata.csv": "file_name,text",
            f"boxes{n}.csv": "image,xmin,ymin,xmax,ymax\na,1,2,3,4",
        }
    write_files(tmp_path, files)
    for n in range(2):
        (tmp_path / f"gone{n}.png").symlink_to(tmp_path / "nowhere")
    findings = merge(FolderSource(SourceSpec(uri=str(tmp_path)), 64).survey().findings)
    assert len(findings) > 8
    assert {each.count for each in findings} == {2}
    assert [each.reason for each in findings if SINGULAR.search(each.reason.partition("which")[0])] == []
