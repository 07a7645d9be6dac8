"""Dataset roots: folders laid out as YOLO, Pascal VOC, Cityscapes, BDD100K, COCO or KITTI data sets are.

A root holds pictures, labels and often label maps side by side. Recognised, it becomes a source of its pictures alone,
with its labels beside.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from methods.counting import counted
from methods.errors import InputError
from pipeline.labels import bdd100k, cityscapes, yolo
from pipeline.labels.files import LabelFiles
from pipeline.labels.formats import FormatName, recognise
from pipeline.labels.unread import ENDINGS, TextFormat, text_format
from pipeline.labels.yolo import NAME_FILES
from pipeline.spec import SourceSpec
from pipeline.storage import filesystem, redact

_TEXTS = 20
"""Texts beside pictures that are read to tell labels from captions."""


@dataclass(frozen=True)
class Root:
    """What a recognised root consists of.

    Attributes:
        folders: where the pictures are, relative to the root; none where they lie in the root itself.
        labels: place of the labels, relative to the root, and their format.
    """

    folders: tuple[str, ...]
    labels: str
    format: FormatName


def resolve_root(source: SourceSpec) -> tuple[SourceSpec, str | None]:
    """The source with its pictures and labels separated, and a line that says what was taken.

    A source that says where its labels are, that has several URIs or that is no folder is left as it is.

    Raises:
        InputError: ``layout`` names one that the folder does not have, or ``labels.format`` another format than the
            folder's labels are in.
    """
    done = source.model_copy(update={"layout": "none"})
    wanted = source.layout
    if wanted == "none":
        return source, None
    files = _listing(source)
    if files is None or (wanted == "auto" and (source.labels.uri is not None or source.folders)):
        if wanted != "auto":
            raise InputError(f"{redact(source.uris[0])}: source.layout {wanted} needs the root folder of a data set")
        return done, None
    names = [wanted] if wanted != "auto" else list(_KNOWN)
    layouts = [_KNOWN[name] for name in names] + [partial(_beside, name) for name in ENDINGS if name in names]
    if source.labels.format in ENDINGS:
        # What is said to be labels is read as such, and what is wrong with it is said picture by picture.
        layouts.append(partial(_beside, source.labels.format, said=True))
    for find in layouts:
        root = find(files)
        if root is None:
            continue
        named = source.labels
        format = root.format if named.format == "auto" else named.format
        if named.uri is None and format != root.format:
            raise InputError(
                f"{redact(files.base)}: laid out with {root.format} labels, but source.labels.format says {format}: "
                "name the files of those with source.labels.uri, or leave the format out"
            )
        labels = named.model_copy(update={"uri": named.uri or files.uri(root.labels).rstrip("/"), "format": format})
        says = (
            f"{redact(files.base)}: taken for a {root.format} data set, pictures in "
            f"{', '.join(root.folders) or 'the folder itself'}, labels in {root.labels or 'the same folder'}"
            f"{_elsewhere(files, root)}"
        )
        found: dict[str, object] = {"layout": "none", "labels": labels, "folders": list(root.folders)}
        if root.format in ("yolo", "kitti") and source.caption == "auto":
            # The text beside a picture is its boxes.
            found["caption"] = None
        return source.model_copy(update=found), says
    if wanted != "auto":
        raise InputError(
            f"{redact(source.uris[0])}: not laid out as {wanted}: {_EXPECTED[wanted]}; "
            "name pictures and labels with source.uri and source.labels"
        )
    return done, None


def _elsewhere(files: LabelFiles, root: Root) -> str:
    """What to say of pictures of the root that are not taken for photos, such as label maps."""
    tops = tuple(f"{folder}/" for folder in root.folders) or ("",)
    others = [name for name in files.pictures() if not name.startswith(tops)]
    if not others:
        return ""
    return f"; {counted(len(others), 'other picture', 'is/are')} not taken for photos ({', '.join(others[:3])})"


def _listing(source: SourceSpec) -> LabelFiles | None:
    """Every file of a source that is one folder of loose files."""
    if len(source.uris) != 1 or source.format not in ("auto", "folder") or any(c in source.uris[0] for c in "*?["):
        return None
    uri = source.uris[0]
    fs = filesystem(uri, source.storage)
    try:
        if not fs.isdir(fs._strip_protocol(uri)):
            return None
        files = LabelFiles.under(uri, source.storage)
    except (InputError, OSError):
        # What is wrong with the place is said where it is listed as a source.
        return None
    return None if files.named(".tar", ".tar.gz", ".tgz", ".parquet", ".pq") else files


def _under(files: LabelFiles, folder: str, *endings: str) -> list[str]:
    return [name for name in files.named(*endings) if name.startswith(f"{folder}/")]


def _yolo(files: LabelFiles) -> Root | None:
    """``images/...`` beside ``labels/...``, at the top or in each split."""
    pictures = {posixpath.splitext(name)[0] for name in files.pictures()}
    texts = [name for name in yolo.label_files(files) if "labels" in name.split("/")[:-1]]
    texts = [name for name in texts if yolo.picture_of(name) in pictures]
    if not texts or _format_of(files.only(texts)) != "yolo":
        return None
    folders = {re.match(r"(.*?\bimages)/", f"{posixpath.dirname(yolo.picture_of(name))}/") for name in texts}
    images = sorted({found.group(1) for found in folders if found})
    tops = {image.removesuffix("images") for image in images}
    return Root(tuple(images), f"{tops.pop()}labels" if len(tops) == 1 else "", "yolo") if images else None


def _beside(format: TextFormat, files: LabelFiles, *, said: bool = False) -> Root | None:
    """A text of labels beside each picture, as labelImg and Darknet's ``obj_train_data`` have them.

    Their content decides, since captions have the same names, unless the format is ``said``. Every picture below the
    root is taken.
    """
    pictures = {posixpath.splitext(name)[0] for name in files.pictures()}
    texts = [
        name
        for name in files.named(ENDINGS[format])
        if posixpath.splitext(name)[0] in pictures and files.sizes[name] and posixpath.basename(name) not in NAME_FILES
    ]
    if said:
        return Root((), "", format) if texts else None
    try:
        found = {text_format(files.text(name)) for name in texts[:_TEXTS]}
    except ValueError:
        return None
    return Root((), "", format) if found == {format} else None


def _voc(files: LabelFiles) -> Root | None:
    """``JPEGImages`` beside ``Annotations`` with XML files; also below ``VOCdevkit/VOC2012``."""
    tops = sorted({name.partition("JPEGImages/")[0] for name in files.sizes if "JPEGImages/" in name})
    tops = [top for top in tops if _under(files, f"{top}Annotations", ".xml")]
    if not tops:
        return None
    return Root(tuple(f"{top}JPEGImages" for top in tops), tops[0].rstrip("/") if len(tops) == 1 else "", "voc")


def _cityscapes(files: LabelFiles) -> Root | None:
    """``leftImg8bit`` beside ``gtFine`` (or ``gtCoarse``)."""
    tops = [top for top in ("gtFine", "gtCoarse") if _under(files, top, ".json", ".png")]
    if not tops or not any(name.startswith("leftImg8bit/") for name in files.pictures()):
        return None
    if not any(cityscapes.is_label_map(name) or name.endswith("_polygons.json") for name in files.sizes):
        return None
    return Root(("leftImg8bit",), tops[0], "cityscapes")


def _bdd100k(files: LabelFiles) -> Root | None:
    """``images/100k/...`` beside ``labels/...`` with JSON files or bitmasks."""
    labels = _under(files, "labels", ".json")
    labels += [name for name in _under(files, "labels", ".png") if bdd100k.is_bitmask(files, name)]
    pictures = sorted({name.split("/")[1] for name in files.pictures() if name.startswith("images/")})
    if not labels or not pictures or _format_of(files.only(labels)) != "bdd100k":
        return None
    detection = sorted({"/".join(name.split("/")[:2]) for name in labels if name.count("/") > 1})
    return Root(("images",), detection[0] if len(detection) == 1 else "labels", "bdd100k")


def _kitti(files: LabelFiles) -> Root | None:
    """``image_2`` beside ``label_2``, at the top or in ``training``; ``testing`` has pictures alone."""
    labels = [name for name in files.named(".txt") if posixpath.basename(posixpath.dirname(name)) == "label_2"]
    folders = {posixpath.dirname(name) for name in files.pictures()}
    folders = sorted(folder for folder in folders if posixpath.basename(folder) == "image_2")
    if not labels or not folders or _format_of(files.only(labels)) != "kitti":
        return None
    # The labels of the whole root: below their own folder alone, 000000 of training and of testing would be the same.
    return Root(tuple(folders), "", "kitti")


def _coco(files: LabelFiles) -> Root | None:
    """``annotations/*.json`` beside folders of pictures, or a JSON file in the pictures' own folder (Roboflow)."""
    jsons = [name for name in files.named(".json") if "/" not in name or name.startswith("annotations/")]
    jsons += [name for name in files.named("_annotations.coco.json") if name not in jsons]
    if not jsons or _format_of(files.only(jsons)) != "coco":
        return None
    tops = {name.split("/")[0] for name in files.pictures() if "/" in name}
    folders = sorted(tops - {"annotations"})
    if not folders:
        return None
    annotations = [name for name in jsons if name.startswith("annotations/")]
    if len(jsons) == 1:
        return Root(tuple(folders), jsons[0], "coco")
    return Root(tuple(folders), "annotations" if annotations == jsons else "", "coco")


def _format_of(files: LabelFiles) -> str | None:
    """The format of some of the files; ``None`` where they are no labels."""
    try:
        return recognise(files)
    except InputError:
        return None


_KNOWN: Mapping[str, Callable[[LabelFiles], Root | None]] = {
    "cityscapes": _cityscapes,
    "voc": _voc,
    "kitti": _kitti,
    "yolo": _yolo,
    "bdd100k": _bdd100k,
    "coco": _coco,
}
_EXPECTED = {
    "cityscapes": "it needs leftImg8bit/ and gtFine/",
    "voc": "it needs JPEGImages/ and Annotations/, or an XML file beside each picture",
    "kitti": "it needs image_2/ and label_2/, or a text file beside each picture",
    "yolo": "it needs images/ and labels/ with a text file per picture, or each beside its picture",
    "bdd100k": "it needs images/ and labels/ with JSON files or bitmasks",
    "coco": "it needs annotations/*.json and folders of pictures",
}
