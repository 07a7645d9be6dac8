"""What is secret in a URI stays out of texts and keys; what lies under what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.errors import InputError
from pipeline.uris import absolute, lies_under, printable, redact, seen_from, without_secrets

SECRET = "TOPSECRETvalue"


@pytest.mark.parametrize(
    "uri",
    [
        f"http://host/a.jpg?X-Amz-Signature={SECRET}",
        f"http://me:{SECRET}@127.0.0.1:9/c.jpg",
        f"https://{SECRET}@host/x",
        f"s3://AKIAXXXX:12/{SECRET}@bucket/x",
        f"s3://AKIA:{SECRET}@bucket/x",
        f"s3://bucket/x?versionId={SECRET}",
        f"http://host/a#{SECRET}",
        f"http://host/a?x=1&y={SECRET}#{SECRET}",
    ],
)
def test_no_secret_is_left(uri):
    for text in (uri, f"cannot read {uri}", f"'{uri}': no", f"({uri}"):
        assert SECRET not in redact(text)
    assert SECRET not in without_secrets(uri)


def test_names_in_buckets_and_plain_text_stay_as_they_are():
    for text in ("s3://b/a?.tar", "s3://b/*.tar", "what? s3://b/c", "/disk/a?b=c", "http://h:80/p@2x.jpg", "a#b"):
        assert redact(text) == text


@given(st.text())
def test_redacting_twice_changes_nothing(text):
    assert redact(redact(text)) == redact(text)


@given(st.text(st.characters(), max_size=30), st.binary(max_size=20))
def test_printable_text_can_be_written(text, name):
    for each in (text, name.decode("utf-8", "surrogateescape"), "\ud800" + text):
        printable(each).encode()
    assert printable(b"stra\xdfe".decode("utf-8", "surrogateescape")) == "stra\\xdfe"


@pytest.mark.parametrize("uri", ["a\0b", "s3://b/a\0b", "http://[::1", "http://h:99999/x", "s3://", "http://"])
def test_what_is_no_address_is_one_line(uri):
    with pytest.raises(InputError) as refused:
        absolute(uri)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("output", "source", "under"),
    [
        ("/d/ds/out", "/d/ds", True),
        ("/d/out", "/d/ds", False),
        ("/d/dsx", "/d/ds", False),
        ("/d/ds/out", "/d/ds/*.tar", False),
        ("/d/ds/out", "/d/ds/**/*.tar", True),
        ("/d/ds/out", "/d/ds/*/*.tar", True),
        ("/d/ds/out", "/d/ds/in*/*.tar", False),
        ("s3://b/ds/out", "s3://b/ds", True),
        ("s3://b/ds/out", "s3://b", True),
        ("s3://b/dsout", "s3://b/ds", False),
        ("s3://c/ds/out", "s3://b/ds", False),
        ("s3://b/ds/out", "s3://b/d?/**/x.tar", True),
        ("/b/ds/out", "s3://b/ds", False),
    ],
)
def test_what_lies_under_a_source(output, source, under):
    assert lies_under(output, source) is under


def test_links_are_followed(tmp_path):
    (tmp_path / "ds").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ds")
    assert lies_under(str(tmp_path / "link" / "out"), str(tmp_path / "ds"))
    assert lies_under(str(tmp_path / "ds" / "out"), str(tmp_path / "link" / "**" / "*.tar"))
    (tmp_path / "out").symlink_to(tmp_path / "ds" / "inner")
    assert lies_under(str(tmp_path / "out"), str(tmp_path / "ds"))


@pytest.mark.parametrize(
    ("folder", "uri", "seen"),
    [
        ("/data/out/night", "/data/in/day", "../../in/day"),
        ("/data/out", "/data/out", "."),
        ("/data/out", "s3://user:secret@bucket/day", "s3://***@bucket/day"),
        ("s3://bucket/out", "/home/me/private/day", "day"),
    ],
)
def test_a_page_names_places_as_they_are_seen_from_its_folder(folder, uri, seen):
    assert seen_from(folder, uri) == seen
