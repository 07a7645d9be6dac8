"""Names of pictures as label files and sources write them, and when two of them mean the same picture."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

_ENDINGS = ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif", "ppm", "pgm", "pbm", "pnm", "jp2")
IMAGE_ENDINGS = frozenset((*_ENDINGS, "avif", "heic", "heif", "jxl"))
_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")
_ABSOLUTE = re.compile(r"[A-Za-z]:[\\/]|[\\/]|[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class PictureName:
    """The name of one picture, taken apart.

    Attributes:
        folders: outermost first.
        stem: the base name without an image ending; an ending that no image has belongs to it.
        ending: in lower case, without the dot; empty where there is none.
        foreign: whether it is a path of another machine (absolute, or climbing out): its folders need not be ours.
    """

    folders: tuple[str, ...]
    stem: str
    ending: str
    foreign: bool = False

    @classmethod
    def parse(cls, name: str) -> PictureName:
        """Take apart a path, a file name or a sample key; backslashes count as slashes.

        An accent is one character with its letter: macOS writes it as one of its own, label files mostly do not.
        """
        name = unicodedata.normalize("NFC", name)
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        foreign = bool(_ABSOLUTE.match(name)) or ".." in parts
        *folders, base = [part for part in parts if part != ".."] or [""]
        stem, dot, ending = base.rpartition(".")
        if dot and stem and ending.lower() in IMAGE_ENDINGS:
            return cls(tuple(folders), stem, ending.lower(), foreign)
        return cls(tuple(folders), base, "", foreign)

    @staticmethod
    def others(name: str) -> list[str]:
        """Other names that the same picture may have, for one that is not found by its own.

        Label tools change names: an address has ``%20`` for a blank, Label Studio writes ``?d=folder/photo.jpg`` for a
        local file and puts eight hexadecimal digits before the name of an uploaded one, in a folder of its own.
        """
        plain = name.rpartition("?d=")[2]
        plain = unquote(plain.partition("?")[0] if "://" in plain else plain)
        base = plain.replace("\\", "/").rpartition("/")[2]
        uploaded = [base[9:]] if _PREFIX.match(base) else []
        return [each for each in dict.fromkeys((plain, *uploaded)) if each and each != name]

    def fit(self, other: PictureName, hint: str) -> tuple[int, ...] | None:
        """How well a sample's name (this) fits a label's (``other``); ``None`` where they contradict, higher is better.

        Folders must not contradict as far as both have them, unless the label's are those of another machine.
        ``hint`` is a folder that the label's file suggests (``train`` of ``instances_train.json``).
        """
        shared = min(len(self.folders), len(other.folders))
        agree = shared == 0 or self.folders[-shared:] == other.folders[-shared:]
        if not agree and not other.foreign:
            return None
        hinted = bool(hint) and hint in self.folders
        return (self.folders == other.folders, shared if agree else -1, hinted, self.ending == other.ending)
