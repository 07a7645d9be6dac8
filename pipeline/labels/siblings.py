"""Pictures and label files in folders beside each other: ``X/frames/a.jpg`` and ``X/annotations/a.xml``, for several X.

Their folders differ in one name that says nothing of the picture, only what lies there. Which name that is must follow
from the whole set: from one picture alone, ``train/a`` and ``val/a.xml`` look the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass

from pipeline.labels.names import PictureName

Folders = tuple[str, ...]

_PICTURES = frozenset(
    [
        *("image", "images", "img", "imgs", "frame", "frames", "picture", "pictures", "pic", "pics", "photo", "photos"),
        *("rgb", "color", "colour", "jpegimages", "jpg", "jpgs", "jpeg", "jpegs", "png", "pngs", "leftimg"),
    ]
)
_LABELS = frozenset(
    [
        *("label", "labels", "labeltxt", "annotation", "annotations", "annot", "annots", "anno", "annos", "ann"),
        *("anns", "gt", "gts", "groundtruth", "gtfine", "gtcoarse", "bbox", "bboxes", "box", "boxes", "xml", "xmls"),
        *("txt", "txts", "json", "jsons", "yolo", "voc", "pascal", "pascalvoc", "kitti", "vocxml", "vocxmls"),
    ]
)
_PARTS_OF_SETS = frozenset(
    ["train", "training", "val", "valid", "validation", "trainval", "test", "testing", "dev", "eval", "holdout"]
)
_WORDS = re.compile(r"[^\W\d_]+|\d+")


@dataclass(frozen=True)
class Siblings:
    """The one name in which the folders of pictures and of their label files differ.

    Attributes:
        at: where it stands among the folders: 0 is the outermost, -1 the innermost.
        pictures: the name that all pictures have there.
        labels: the name that all label files have there.
    """

    at: int
    pictures: str
    labels: str

    def labels_of(self, folders: Folders) -> Folders | None:
        """Where the label file of a picture in these folders lies; ``None`` for a picture that lies elsewhere."""
        return _exchanged(folders, self.at, self.labels) if _has(folders, self.at, self.pictures) else None

    def contradict(self, picture: Folders, label: Folders) -> bool:
        """Whether a label file lies where those of other pictures lie, whatever it is called."""
        if not _has(picture, self.at, self.pictures) or not _has(label, self.at, self.labels):
            return False
        return _exchanged(picture, self.at, self.labels) != label


def find_siblings(
    pictures: Collection[PictureName], labels: Collection[tuple[Folders, str]], places: Collection[Folders]
) -> Siblings | None:
    """The name in which the folders of pictures and label files differ, where the whole set leaves no doubt.

    Every picture that is called like a label file must have the one name at the same place, every such label file the
    other, and for at least one pair all other folders must be the same. Then either both names must be usual ones
    (``images`` and ``labels``, with the same number if one has a number), or the pairs must lie in two or more such
    folders with nothing else beside them that the labels could be for: a name alone may also be a part of the set
    (``train`` and ``val``, ``day`` and ``night``), and then these are labels of other pictures.

    Args:
        pictures: names of all pictures of the source.
        labels: (folders, stem) of all label files.
        places: folders of all pictures among the label files, those of the source and others.
    """
    called = {stem for _, stem in labels} & {each.stem for each in pictures}
    of_pictures = {each.folders for each in pictures if each.stem in called}
    of_labels = {folders for folders, stem in labels if stem in called}
    known = {(each.folders, each.stem) for each in pictures if each.stem in called}
    for found in _candidates(of_pictures, of_labels):
        paired = {
            where
            for folders, stem in labels
            if stem in called and (where := _exchanged(folders, found.at, found.pictures), stem) in known
        }
        if paired and _certain(found, paired, places):
            return found
    return None


def _candidates(of_pictures: Collection[Folders], of_labels: Collection[Folders]) -> Iterator[Siblings]:
    """Every place at which all pictures have one name and all label files another one."""
    depth = min(map(len, (*of_pictures, *of_labels)), default=0)
    for at in (*range(-1, -depth - 1, -1), *range(depth)):
        ours, theirs = {folders[at] for folders in of_pictures}, {folders[at] for folders in of_labels}
        if len(ours) == len(theirs) == 1 and ours != theirs:
            yield Siblings(at, ours.pop(), theirs.pop())


def _certain(found: Siblings, paired: Set[Folders], places: Collection[Folders]) -> bool:
    """Whether the label files can be for no other pictures than those in ``paired``, the folders of pictures."""
    beside = {_exchanged(folders, found.at, "") for folders in paired}
    others = {
        each[found.at] for each in places if _reaches(each, found.at) and _exchanged(each, found.at, "") in beside
    }
    others -= {found.pictures}
    if _usual(found.pictures, found.labels):
        return not any(_usual(other, found.labels) for other in others)
    (ours, number), (theirs, other_number) = _words(found.pictures), _words(found.labels)
    if ours == theirs or (number and other_number and number != other_number):
        # cam_1 and cam_2, image_3 and label_2
        return False
    if {found.pictures.lower(), found.labels.lower()} & _PARTS_OF_SETS:
        return False
    return len(paired) > 1 and not others and paired <= {*places}


def _usual(pictures: str, labels: str) -> bool:
    """Whether folders of one data set are usually called so: ``image_2`` and ``label_2``, but not ``label_3``."""
    (ours, number), (theirs, other) = _words(pictures), _words(labels)
    return _all_in(ours, _PICTURES) and _all_in(theirs, _LABELS) and number in ((), other)


def _all_in(words: Folders, known: Collection[str]) -> bool:
    return "".join(words) in known or (bool(words) and all(each in known for each in words))


def _words(name: str) -> tuple[Folders, tuple[int, ...]]:
    """The words of a name in lower case, and its numbers."""
    found = _WORDS.findall(name.lower().replace("leftimg8bit", "leftimg"))
    return tuple(each for each in found if not each.isdigit()), tuple(int(each) for each in found if each.isdigit())


def _reaches(folders: Folders, at: int) -> bool:
    return -len(folders) <= at < len(folders)


def _has(folders: Folders, at: int, name: str) -> bool:
    return _reaches(folders, at) and folders[at] == name


def _exchanged(folders: Folders, at: int, name: str) -> Folders:
    place = at % len(folders)
    return (*folders[:place], name, *folders[place + 1 :])
