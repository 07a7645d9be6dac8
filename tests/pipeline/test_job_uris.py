"""URIs of weights in a job: made ready for workers, wherever the spec names them; identity stays by content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import methods
from methods.errors import InputError
from pipeline.job import prepare
from pipeline.spec import JobSpec
from tests.support.datasets import write_tars
from tests.support.jobs import job

TURBO = Path(__file__).parents[1] / "golden" / "turbo"
PARAMS = {"base": "_weights", "caption": "driving in the night"}


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobSpec:
    """A job whose URIs are relative to the working directory, or begin with an environment variable."""
    write_tars(tmp_path / "in", 1, 2)
    monkeypatch.chdir(TURBO)
    monkeypatch.setenv("HELD", "_weights")
    return _job(tmp_path, "$HELD/cyclegan_turbo.pkl", PARAMS)


def _job(place: Path, weights: Any, params: dict[str, Any]) -> JobSpec:
    return job(
        place / "in",
        place / "out",
        method__name="cyclegan_turbo",
        method__weights=weights,
        method__params=params,
    )


def test_workers_get_uris_that_do_not_depend_on_where_they_run(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepare(spec)
    assert ready.params["base"] == str(TURBO / "_weights")
    assert ready.weights == str(TURBO / "_weights" / "cyclegan_turbo.pkl")
    by_variable = prepare(_job(tmp_path, "_weights/cyclegan_turbo.pkl", {**PARAMS, "base": "${HELD}"}))
    assert by_variable.params["base"] == ready.params["base"]
    assert by_variable.weights_identity == ready.weights_identity
    monkeypatch.delenv("HELD")
    monkeypatch.chdir(tmp_path)
    method = methods.load("cyclegan_turbo", weights=ready.weights, **ready.params)
    assert method.params.model_dump(mode="json") == ready.params


def test_the_fingerprint_has_uris_as_the_spec_has_them(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout at another place is the same job."""
    before = prepare(spec)
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "_weights").symlink_to(TURBO / "_weights")
    monkeypatch.chdir(tmp_path / "moved")
    after = prepare(spec)
    assert after.fingerprint == before.fingerprint


def test_storage_options_of_weights(tmp_path: Path) -> None:
    storage = {"endpoint_url": "http://store:1", "anon": True}
    spec = _job(tmp_path, {"uri": "s3://b/x.pkl", "storage": storage}, {"base": {"uri": "owner/name"}})
    assert spec.method.weights == "s3://b/x.pkl#anon=True&endpoint_url=http%3A%2F%2Fstore%3A1"
    _, params, _ = methods.resolve("cyclegan_turbo", params=spec.method.params)
    assert params.model_dump()["base"] == "owner/name"


def test_a_variable_that_is_not_set_is_named(spec: JobSpec, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"method\.weights: environment variable NOT_SET is not set"):
        _job(tmp_path, "$NOT_SET/x.pkl", PARAMS)
    with pytest.raises(InputError, match=r"base: environment variable NOT_SET is not set"):
        prepare(_job(tmp_path, "_weights/cyclegan_turbo.pkl", {**PARAMS, "base": "$NOT_SET"}))
