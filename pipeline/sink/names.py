"""File names from sample keys: names that every disk and object store takes, each given once."""

from __future__ import annotations

import hashlib
import unicodedata

_LONGEST = 180
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".jsonl", ".txt", ".xml")


def file_stem(key: str, variant: int = 0, variants: int = 1) -> str:
    """The path of a sample's files without ending: its key, with ``_v0`` ... where there are several variants.

    Keys are already free of absolute paths, ``..`` and control characters. A part longer than file systems take is cut
    and gets six hex digits of its own; a folder that is called like a picture gets an underscore, so that the key ``a``
    and the key ``a.jpg/b`` do not ask for a file and a folder of one name.
    """
    *folders, base = key.split("/")
    kept = [part for part in folders if part not in ("", ".")]
    parts = [_short(f"{part}_" if part.lower().endswith(_ENDINGS) else part) for part in kept]
    return "/".join([*parts, _short(base or "_") + (f"_v{variant}" if variants > 1 else "")])


def _short(part: str) -> str:
    data = part.encode()
    if len(data) <= _LONGEST:
        return part
    return f"{data[:_LONGEST].decode(errors='ignore')}-{hashlib.sha256(data).hexdigest()[:6]}"


class UniqueNames:
    """Gives each name once.

    Names that differ in nothing but case, or in how accents are encoded, count as one: disks may take them for the
    same. Eight bytes per name are kept.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def new(self, name: str, owner: str) -> str:
        """``name``, or where it is taken, with six hex digits of ``owner`` behind it."""
        number = _digest(name)
        if number in self._taken:
            name = f"{name}-{hashlib.sha256(owner.encode()).hexdigest()[:6]}"
            number = _digest(name)
        self._taken.add(number)
        return name


def _digest(name: str) -> int:
    same = unicodedata.normalize("NFC", name).casefold()
    return int.from_bytes(hashlib.blake2b(same.encode(), digest_size=8).digest(), "big")
