"""URIs among parameters: found by their type, expanded, made absolute, with the options of their store."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

import methods
from methods import weights
from methods.base import MethodParams
from methods.errors import InputError
from methods.registry import registered, resolve
from methods.uris import StorageOptions, UriMark, WeightsUri, resolved, resolved_uri, split, uris


class Part(BaseModel):
    file: WeightsUri
    note: str = ""


class Params(MethodParams):
    plain: str = "models"
    one: WeightsUri = "models"
    maybe: WeightsUri | None = None
    many: tuple[WeightsUri, ...] = ()
    named: dict[str, WeightsUri] = Field(default_factory=dict)
    parts: list[Part] = Field(default_factory=list)
    known: Annotated[WeightsUri, UriMark(frozenset({"cat"}))] = "cat"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the folders ``models`` and ``cat``."""
    (tmp_path / "models").mkdir()
    (tmp_path / "cat").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACE", str(tmp_path))
    return tmp_path


def test_uris_are_found_wherever_they_are(place: Path) -> None:
    parts = [Part(file="$PLACE/x.pt", note="models")]
    params = Params(maybe="${PLACE}/models", many=("models", "hub/id"), named={"a": "models"}, parts=parts)
    ready = resolved(params)
    absolute = str(place / "models")
    assert ready == Params(
        one=absolute,
        maybe=absolute,
        many=(absolute, "hub/id"),
        named={"a": absolute},
        parts=[Part(file=f"{place}/x.pt", note="models")],
    )
    assert ready.plain == "models"
    assert params.one == "models"
    assert uris(params) == ["models", "${PLACE}/models", "models", "hub/id", "models", "$PLACE/x.pt"]


def test_names_that_mean_something_else_are_left_alone(place: Path) -> None:
    assert resolved(Params()).known == "cat"
    assert resolved(Params(known="models")).known == str(place / "models")
    _, params, _ = resolve("pix2pix_zero", params={"source": "cat", "target": "models"})
    assert (resolved(params).source, resolved(params).target) == ("cat", str(place / "models"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("uri", ["bundled://street-day2night", "hub/id", "hub/id@main", "s3://b/x.pt", "gone.pt"])
def test_what_is_no_path_of_this_machine_stays_as_it_is(place: Path, uri: str) -> None:
    assert resolved_uri(uri) == uri


def test_wrong_uris_name_their_parameter(place: Path) -> None:
    with pytest.raises(InputError, match=r"parts\.0\.file: environment variable NOT_SET is not set"):
        resolved(Params(parts=[Part(file="$NOT_SET/x")]))
    with pytest.raises(InputError, match="maybe: a URI must not carry credentials") as caught:
        resolved(Params(maybe="https://user:hunter2@host/x.pt"))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InputError, match=r"method\.params\.base: .*storage\.endpoint: Extra inputs"):
        resolve("cyclegan_turbo", params={"base": {"uri": "s3://b/x", "storage": {"endpoint": "x"}}})
    with pytest.raises(InputError, match=r"method\.params\.base: expected a URI, or \{uri"):
        resolve("cyclegan_turbo", params={"base": {"url": "s3://b/x"}})


@given(
    st.builds(
        StorageOptions,
        endpoint_url=st.none() | st.text(min_size=1, max_size=20),
        profile=st.none() | st.text(min_size=1, max_size=9),
        key_env=st.none() | st.text(min_size=1, max_size=9),
        anon=st.booleans(),
    )
)
def test_storage_options_travel_in_the_uri(options: StorageOptions) -> None:
    pinned = f"s3://b/x.pt#sha256={'A' * 64}"
    for uri, wanted in (("s3://b/x.pt", None), (pinned, "a" * 64)):
        given_as = {"uri": uri, "storage": options.model_dump()}
        text = Params(one=given_as).one  # type: ignore[arg-type]
        assert Params.model_validate_json(json.dumps({"one": text})).one == text
        assert split(text) == ("s3://b/x.pt", wanted, options)


@pytest.mark.parametrize("fragment", ["x", "sha256=short", "sha256=", "key=hunter2", "anon=perhaps"])
def test_anything_else_behind_the_hash_is_refused(fragment: str) -> None:
    with pytest.raises(InputError, match="expected '#sha256=' and 64 hex digits"):
        split(f"s3://b/x.pt#{fragment}")


def test_weights_are_fetched_with_their_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    asked: list[dict[str, object]] = []

    class Store(MemoryFileSystem):
        protocol = "s3"
        cachable = False

        def __init__(self, **options: object) -> None:
            asked.append({name: options[name] for name in ("client_kwargs", "endpoint_url", "anon") if name in options})
            super().__init__()

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return super()._strip_protocol(path.replace("s3://", "memory://own/"))

    monkeypatch.setattr("methods.s3.Client", Store)
    Store().pipe("s3://bucket/x.pt", b"content")
    asked.clear()
    uri = Params(one={"uri": "s3://bucket/x.pt", "storage": {"endpoint_url": "http://store:1", "anon": True}}).one  # type: ignore[arg-type]
    found = weights.fetch(uri)
    assert found.read_bytes() == b"content"
    assert asked == [{"anon": True, "client_kwargs": {}, "endpoint_url": "http://store:1"}]
    assert weights.identity(uri).startswith("sha256:")
    assert urllib.parse.urlsplit(weights.redacted(uri)).fragment == ""
    assert weights.fetch("s3://bucket/x.pt") != found


def test_every_uri_of_a_method_that_enters_the_fingerprint_is_marked() -> None:
    """What ``weight_uris`` reads from the parameters is what workers fetch: all of it must be made absolute."""
    for name, given_as in (
        ("cyclegan_turbo", {"base": "BASE"}),
        ("pix2pix_turbo", {"base": "BASE"}),
        ("pix2pix_zero", {"source": "A", "target": "B", "captioner": "C"}),
        ("pix2pix_zero", {"direction": "D"}),
        ("piti", {"condition": "panoptic", "upsampler": "U", "panoptic_json": "J"}),
        ("diffuseit", {"target_image": "T", "dino": "D", "face_weights": "F", "clip_vocabulary": "V"}),
        ("diffuseit", {"prompt": "x", "source": "y", "clip_models": ["C", "RN50"]}),
        ("asyrp", {"attributes": [{"block": "B"}], "lpips_x0": "X0", "lpips_x": "X", "text_cosine": 0.5}),
        ("self_guidance", {"edits": [{"edit": "layout", "words": ["x"]}], "captioner": "C"}),
    ):
        info, params, _ = resolve(name, params=given_as)
        read = set(info.weight_uris(params, None)) | set(info.weight_uris(params, "w.pkl")) - {"w.pkl"}
        marked = set(uris(params))
        bare = {uri for uri in read if "://" not in uri}
        assert bare <= {part for uri in marked for part in (uri, f"{uri}/config.json")}, name
    assert {"cyclegan_turbo", "diffuseit", "piti"} <= registered().keys()
    assert methods.info("piti").name == "piti"
