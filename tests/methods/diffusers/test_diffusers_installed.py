"""What is read of diffusers' source is what its classes say of themselves; templates of prompts."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest
from diffusers.pipelines import auto_pipeline
from hypothesis import given
from hypothesis import strategies as st

from methods.diffusers.installed import INSTALLED
from methods.diffusers.method import BATCHED
from methods.diffusers.prompts import filled, places
from methods.errors import BadSample
from tests.methods.diffusers.conftest import library

diffusers = library()


def parameters(function: Any) -> list[str]:
    return [name for name, each in inspect.signature(function).parameters.items() if each.kind is not each.VAR_KEYWORD][
        1:
    ]


def test_families_are_those_of_the_automatic_pipelines() -> None:
    for task in ("IMAGE2IMAGE", "INPAINT", "TEXT2IMAGE"):
        theirs = getattr(auto_pipeline, f"AUTO_{task}_PIPELINES_MAPPING")
        known = {family: each.__name__ for family, each in theirs.items()}
        # kolors is added where sentencepiece is installed; diffusers says so when it is loaded
        assert {**INSTALLED.families[task], **known} == INSTALLED.families[task]
        assert INSTALLED.families[task].keys() - known.keys() <= {"kolors", "kolors-pag"}


def test_signatures_are_those_of_the_classes() -> None:
    names = {each.__name__ for each in auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING.values()}
    names |= {each.__name__ for each in auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING.values()} | BATCHED
    for name in sorted(names):
        kind, found = getattr(diffusers, name), INSTALLED.pipeline(name, "here")
        assert list(found.signature("__call__").names) == parameters(kind.__call__), name
        assert list(found.signature("__init__").names) == parameters(kind.__init__), name
        assert found.optional == set(kind._optional_components), name


def test_schedulers_that_stand_in_for_one_another() -> None:
    theirs = {each.__name__ for each in diffusers.EulerDiscreteScheduler().compatibles}
    assert INSTALLED.interchangeable == theirs


def test_checking_a_job_imports_neither_torch_nor_diffusers() -> None:
    code = (
        "import sys; from methods.diffusers.check import check_job; from methods.diffusers.installed import INSTALLED;"
        "INSTALLED.pipeline('StableDiffusionImg2ImgPipeline', ''); INSTALLED.families;"
        "print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@given(st.text(), st.text().filter(str.strip))
def test_a_template_gives_back_what_is_put_in(text: str, caption: str) -> None:
    template = text.replace("{", "{{").replace("}", "}}") + "{caption}"
    assert places(template) == ("caption",)
    assert filled(template, caption, {}) == text + caption.strip()


def test_places_of_a_template() -> None:
    assert places("{caption}, {weather.txt} at {time}, {caption}") == ("caption", "weather.txt", "time")
    assert filled("a {weather.txt} {n}", None, {"weather.txt": b"foggy\n", "n": 3}) == "a foggy 3"
    for wrong in ("{", "}", "a {} b", "{a}}", "{{a}"):
        with pytest.raises(ValueError, match=r"single|names no column"):
            places(wrong)
    for caption, columns in ((None, {"n": 1}), (" ", {"n": 1}), ("x", {}), ("x", {"n": None})):
        with pytest.raises(BadSample, match="has no"):
            filled("{caption} {n}", caption, columns)
