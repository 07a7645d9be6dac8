"""The job file: defaults, nearest names, overrides, environment, secrets."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from methods.errors import InputError
from pipeline.spec import JobSpec, fingerprint

MINIMAL = {"source": {"uri": "/in/*.tar"}, "method": {"name": "null"}, "output": {"uri": "/out"}}


def with_(path: str, value) -> dict:
    tree = yaml.safe_load(yaml.safe_dump(MINIMAL))
    node = tree
    *folders, last = path.split(".")
    for folder in folders:
        node = node.setdefault(folder, {})
    node[last] = value
    return tree


def test_everything_but_source_method_and_output_has_a_default():
    spec = JobSpec.parse(MINIMAL)
    assert spec.output.format == "parquet"
    assert spec.output.image.quality == 95
    assert spec.compute.workers == "auto"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("source.imge", "jpg", ["source.imge", "image"]),
        ("ouput", {}, ["ouput", "output"]),
        ("output.image.qualty", 3, ["output.image.qualty", "quality"]),
        ("output.format", "zip", ["output.format", "zip"]),
        ("compute.workers", [3, 1], ["compute.workers", "[3, 1]"]),
        ("variants", 0, ["variants", "0"]),
        ("compute.batch_size", 0, ["compute.batch_size: ", "'auto', or greater than or equal to 1 (got 0)"]),
        ("output.image.quality", 101, ["output.image.quality", "101"]),
        ("output.uri", "/in/*.tar", ["same place"]),
        ("source.uri", "s3://key:secret@bucket/x", ["credentials"]),
        ("source.uri", "s3://${NO_SUCH_VARIABLE_HERE}/x", ["NO_SUCH_VARIABLE_HERE"]),
    ],
)
def test_wrong_input_is_one_line_that_names_it(path, value, words):
    with pytest.raises(InputError) as caught:
        JobSpec.parse(with_(path, value))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_secret_in_a_uri_is_not_repeated():
    with pytest.raises(InputError) as caught:
        JobSpec.parse(with_("source.uri", "s3://AKIA:hunter2@bucket/x"))
    assert "hunter2" not in str(caught.value)


def test_missing_blocks_are_named(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("source: {uri: /in}\nmethod: {name: invert}\n")
    with pytest.raises(InputError, match="output"):
        JobSpec.load(path)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "source: [unclosed\n", "just words"])
def test_files_that_are_no_job(tmp_path, text):
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        JobSpec.load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="no such job file"):
        JobSpec.load(tmp_path / "absent.yaml")


def test_overrides_take_yaml_values(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    spec = JobSpec.load(path, ["method.params.gamma=0.4", "compute.workers=[1, 4]", "output.pairs=true"])
    assert spec.method.params == {"gamma": 0.4}
    assert spec.compute.workers == (1, 4)
    assert spec.output.pairs is True
    for bad in ("novalue", "=3", "name.deeper=1"):
        with pytest.raises(InputError, match="--set"):
            JobSpec.load(path, [*(["name=x"] if "deeper" in bad else []), bad])


def test_environment_expands_in_uris_only(monkeypatch):
    monkeypatch.setenv("PLACE", "somewhere")
    tree = with_("source.uri", "s3://${PLACE}/x")
    tree["name"] = "${PLACE}"
    spec = JobSpec.parse(tree)
    assert spec.source.uri == "s3://somewhere/x"
    assert spec.name == "${PLACE}"


def test_local_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert JobSpec.parse(with_("output.uri", "out")).output.uri == str(tmp_path / "out")


def test_what_does_not_shape_pixels_is_not_in_the_fingerprint():
    base = fingerprint(JobSpec.parse(MINIMAL).shaping())
    for path, value in (("compute.workers", 3), ("name", "x"), ("compute.stall_timeout", 5), ("source.uri", "/else")):
        assert fingerprint(JobSpec.parse(with_(path, value)).shaping()) == base
    for path, value in (("seed", 1), ("output.image.quality", 90), ("method.params", {"a": 1}), ("keep", "psnr > 3")):
        assert fingerprint(JobSpec.parse(with_(path, value)).shaping()) != base


@given(st.dictionaries(st.text(max_size=4), st.one_of(st.integers(), st.text(max_size=4)), max_size=5))
def test_a_fingerprint_ignores_the_order_of_keys(tree):
    assert fingerprint(tree) == fingerprint(dict(reversed(list(tree.items()))))


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_unknown_key_is_an_input_error(key, value):
    if key in JobSpec.model_fields:
        return
    with pytest.raises(InputError):
        JobSpec.parse({**MINIMAL, key: value})


def test_an_output_whose_folder_is_a_link_into_the_source_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    tree = {
        "source": {"uri": str(tmp_path / "in")},
        "method": {"name": "null"},
        "output": {"uri": str(tmp_path / "out")},
    }
    JobSpec.parse(tree)
    (tmp_path / "out" / "data").symlink_to(tmp_path / "in")
    with pytest.raises(InputError, match="lies under the source"):
        JobSpec.parse(tree)
