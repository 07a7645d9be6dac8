"""The formats of an export, by name; a writer is imported when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.output.export.writers import ExportPlan, Writer


def open_writer(format: str, plan: ExportPlan, task: str) -> Writer:
    """The writer of a format that :data:`FORMATS` names."""
    return _WRITERS[format](plan, task)


def _coco(plan: ExportPlan, task: str) -> Writer:
    from pipeline.output.export.coco import CocoWriter

    return CocoWriter(plan)


def _bdd100k(plan: ExportPlan, task: str) -> Writer:
    from pipeline.output.export.bdd100k import Bdd100kWriter

    return Bdd100kWriter(plan)


def _yolo(plan: ExportPlan, task: str) -> Writer:
    from pipeline.output.export.yolo import YoloWriter

    return YoloWriter(plan, task)


def _voc(plan: ExportPlan, task: str) -> Writer:
    from pipeline.output.export.voc import VocWriter

    return VocWriter(plan)


def _cityscapes(plan: ExportPlan, task: str) -> Writer:
    from pipeline.output.export.cityscapes import CityscapesWriter

    return CityscapesWriter(plan)


def _hf(plan: ExportPlan, task: str) -> Writer:
    from pipeline.output.export.hf import HuggingFaceWriter

    return HuggingFaceWriter(plan)


_WRITERS: Mapping[str, Callable[[ExportPlan, str], Writer]] = {
    "coco": _coco,
    "bdd100k": _bdd100k,
    "yolo": _yolo,
    "voc": _voc,
    "cityscapes": _cityscapes,
    "hf": _hf,
}
FORMATS = tuple(_WRITERS)
