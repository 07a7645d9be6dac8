"""The labels of many pictures, in one compact file that is looked up by picture name.

A label source is converted once (:class:`TableWriter`) into an SQLite file: one compressed record per picture. Workers
open that file (:class:`LabelTable`) and read single pages of it, so that a table of any size costs a process a few
megabytes and its pages are shared by all processes of a node.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from methods.errors import BadSample
from pipeline.labels.fields import identity
from pipeline.labels.names import PictureName
from pipeline.labels.siblings import Folders, Siblings

_CACHE_KIB = 64 * 1024
MAX_RECORD = 16 << 20
"""Bytes of the text of one picture's labels: a thousand times what a crowded street has."""
_BY_NAME = "SELECT number, name, hint, folder FROM pictures WHERE stem = ?"
_BY_OTHER = "SELECT number, others.name, hint, folder FROM others JOIN pictures USING (number) WHERE others.stem = ?"
_BY_FOLDER = "SELECT number FROM pictures WHERE stem = ? AND folder = ?"
_BETWEEN = "\x1f"


@dataclass(frozen=True, slots=True)
class Record:
    """One picture's labels as they were stored, not yet parsed.

    Attributes:
        number: 0 to the number of pictures in the table.
        text: what the format's parser takes.
        masks: member name -> URI of label maps that belong to the picture. Those that the table's ``info.masks``
            does not list are no members: annotations are read from them.
    """

    number: int
    text: str
    masks: dict[str, str]


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What holds for a whole label source.

    Attributes:
        format: name of the label format.
        pictures: how many pictures it has labels for.
        categories: the classes as the source declares them, ``{"id", "name", ...}`` each, in its order.
        classes: names of all classes, sorted: the declared ones, and those that occur; none where nothing is named.
        masks: names of the label maps that pictures may have.
        options: settings of the format that its files decide (``keypoints`` of YOLO, ...).
        notes: what was left aside and a user may want to know.
    """

    format: str
    pictures: int
    categories: list[dict[str, Any]]
    classes: tuple[str, ...]
    masks: tuple[str, ...]
    options: dict[str, Any]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> TableInfo:
        """From JSON."""
        lists = {name: tuple(tree.get(name, ())) for name in ("classes", "masks", "notes")}
        return cls(**{**tree, **lists})


class TableWriter:
    """Collects records in any order, in memory that does not grow with them, and writes the table at the end.

    Attributes:
        categories, options, notes: as in :class:`TableInfo`, to be filled by the format.
        classes: names of classes that occur, to be filled by formats that do not declare all of them.
        pictures: paths of the pictures that lie among the label files; one of each folder is enough.
    """

    def __init__(self, path: Path, format: str) -> None:
        self.categories: list[dict[str, Any]] = []
        self.classes: set[str] = set()
        self.options: dict[str, Any] = {}
        self.notes: list[str] = []
        self.pictures: list[str] = []
        self._format = format
        self._masks: set[str] = set()
        self._late: dict[tuple[int, str], dict[str, str]] = {}
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}", "temp_store=FILE"):
            self._db.execute(f"PRAGMA {setting}")
        self._db.execute("BEGIN")
        self._db.execute(
            "CREATE TABLE heads (file INTEGER, id TEXT, name TEXT, hint TEXT, text BLOB, masks TEXT, path TEXT)"
        )
        self._db.execute("CREATE TABLE parts (file INTEGER, id TEXT, category TEXT, text BLOB)")

    def add(
        self,
        name: str,
        text: str,
        *,
        file: int = 0,
        id: str = "",
        hint: str = "",
        masks: dict[str, str] | None = None,
        drawn: dict[str, str] | None = None,
        path: str | None = None,
    ) -> None:
        """Add a picture, or what one file says of it.

        Args:
            name: its file name; may hold folders and an ending.
            file, id: the label file it stands in, and its id there; :meth:`add_part` refers to them.
            hint: see :meth:`pipeline.labels.names.PictureName.fit`.
            masks: member name -> URI of its label maps.
            drawn: name -> URI of pictures that its annotations are read from.
            path: the label file, where it belongs to this picture alone and is called like it.
        """
        self._masks.update(masks or {})
        all_maps = {**(drawn or {}), **(masks or {})}
        self._db.execute(
            "INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(file, _clean(id), _clean(name), _clean(hint)),
                *(_packed(text), json.dumps(all_maps) if all_maps else "", None if path is None else _clean(path)),
            ),
        )

    def add_part(self, text: str, *, file: int, id: str, categories: Collection[str] = ()) -> None:
        """Add one annotation of the picture with this id, which may come later; ``categories`` are the ids it uses."""
        used = _clean(_BETWEEN.join(categories))
        self._db.execute(
            "INSERT INTO parts VALUES (?, ?, ?, ?)", (file, _clean(id), used, text.encode("utf-8", "replace"))
        )

    def add_masks(self, file: int, masks: Mapping[str, dict[str, str]], *, drawn: bool = False) -> None:
        """Say which label maps, or ``drawn`` annotations, belong to pictures of a file, by their ids."""
        for id, names in masks.items():
            self._late[file, _clean(id)] = names
            if not drawn:
                self._masks.update(names)

    def shared_id(self) -> tuple[str, list[str]] | None:
        """An id that one file gives to several pictures of which it has annotations, and their names."""
        self._db.execute("CREATE INDEX IF NOT EXISTS heads_of ON heads (file, id)")
        self._db.execute("CREATE INDEX IF NOT EXISTS parts_of ON parts (file, id)")
        found = self._db.execute(
            "SELECT file, id FROM heads GROUP BY file, id HAVING count(*) > 1 AND count(DISTINCT name) > 1 AND EXISTS "
            "(SELECT 1 FROM parts WHERE parts.file = heads.file AND parts.id = heads.id) LIMIT 1"
        ).fetchone()
        if found is None:
            return None
        names = self._db.execute("SELECT DISTINCT name FROM heads WHERE file = ? AND id = ? LIMIT 3", found)
        return found[1], [name for (name,) in names]

    def finish(
        self,
        compose: Callable[[str, list[str], set[str]], str] = lambda head, parts, categories: head,
        merge: Callable[[list[str]], str] = lambda texts: texts[0],
    ) -> None:
        """Write the table.

        Args:
            compose: from a picture's text, its parts' texts and the categories those use to its record.
            merge: one record from those that several files have of one picture.
        """
        self._db.execute("CREATE INDEX IF NOT EXISTS parts_of ON parts (file, id)")
        self._db.execute(
            "CREATE TABLE pictures "
            "(number INTEGER PRIMARY KEY, stem TEXT, name TEXT, hint TEXT, record BLOB, masks TEXT, folder TEXT)"
        )
        self._db.execute("CREATE TABLE others (number INTEGER, stem TEXT, name TEXT)")
        number = 0
        for name, hint, path, texts, masks in self._grouped(compose):
            row = (
                number,
                PictureName.parse(name).stem,
                name,
                hint,
                _joined(texts, merge),
                json.dumps(masks) if masks else "",
                None if path is None else _folder(path),
            )
            self._db.execute("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            others = [(number, PictureName.parse(other).stem, other) for other in PictureName.others(name)]
            self._db.executemany("INSERT INTO others VALUES (?, ?, ?)", others)
            number += 1
        self._db.execute("CREATE INDEX by_stem ON pictures (stem, folder)")
        self._db.execute("CREATE INDEX by_other ON others (stem)")
        self._db.execute("CREATE TABLE places (folder TEXT)")
        self._db.executemany(
            "INSERT INTO places VALUES (?)", [(place,) for place in sorted(map(_folder, self.pictures))]
        )
        lost = (
            self._db.execute(
                "SELECT count(*) FROM parts WHERE NOT EXISTS "
                "(SELECT 1 FROM heads WHERE heads.file = parts.file AND heads.id = parts.id)"
            ).fetchone()[0]
            if self._has_parts()
            else 0
        )
        if lost:
            self.notes.append(f"annotations of pictures that the label file does not list: {lost}")
        info = {
            "format": self._format,
            "pictures": number,
            "categories": self.categories,
            "classes": sorted(self.classes.union(str(each.get("name") or "") for each in self.categories) - {""}),
            "masks": sorted(self._masks),
            "options": self.options,
            "notes": self.notes,
        }
        self._db.execute("CREATE TABLE info (value TEXT)")
        self._db.execute("INSERT INTO info VALUES (?)", (json.dumps(info),))
        self._db.execute("DROP TABLE heads")
        self._db.execute("DROP TABLE parts")
        self._db.execute("COMMIT")
        self._db.execute("VACUUM")
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _has_parts(self) -> bool:
        self._db.execute("CREATE INDEX IF NOT EXISTS heads_of ON heads (file, id)")
        return self._db.execute("SELECT 1 FROM parts LIMIT 1").fetchone() is not None

    def _grouped(
        self, compose: Callable[[str, list[str], set[str]], str]
    ) -> Iterator[tuple[str, str, str | None, list[str | None], dict[str, str]]]:
        """(name, hint, path, records, masks) per picture, by name.

        What one file says twice is two pictures of one name. A record that is too large is ``None``; its annotations
        are not read.
        """
        rows = self._db.execute(
            "SELECT file, id, name, hint, text, masks, path FROM heads ORDER BY name, hint, file, rowid"
        )
        waiting: tuple[str, str] | None = None
        files: set[int] = set()
        texts: list[str | None] = []
        masks: dict[str, str] = {}
        place: str | None = None
        for file, id, name, hint, head, mask, path in rows:
            text = self._composed(file, id, _unpacked(head), compose)
            if waiting is not None and (waiting != (name, hint) or file in files):
                yield (*waiting, place, texts, masks)
                files, texts, masks = set(), [], {}
            if not files:
                place = path
            waiting = (name, hint)
            files.add(file)
            texts.append(text)
            masks |= (json.loads(mask) if mask else {}) | self._late.get((file, id), {})
        if waiting is not None:
            yield (*waiting, place, texts, masks)

    def _composed(
        self, file: int, id: str, head: str, compose: Callable[[str, list[str], set[str]], str]
    ) -> str | None:
        parts: list[str] = []
        used: set[str] = set()
        size = len(head)
        query = "SELECT category, text FROM parts WHERE file = ? AND id = ? ORDER BY rowid"
        for category, text in self._db.execute(query, (file, id)):
            size += len(text)
            if size > MAX_RECORD:
                return None
            used.update(category.split(_BETWEEN))
            parts.append(text.decode())
        return compose(head, parts, used)


def _joined(texts: list[str | None], merge: Callable[[list[str]], str]) -> bytes | None:
    """What several files say of a picture as one record, packed; ``None`` for one that is too large."""
    known = [text for text in texts if text is not None]
    if len(known) < len(texts) or sum(map(len, known)) > MAX_RECORD:
        return None
    return _packed(known[0] if len(known) == 1 else merge(known))


class LabelTable:
    """A table that :class:`TableWriter` has written; read only, safe to use from several threads.

    ``siblings`` is the name in which folders of pictures and of label files differ, where it is known to be one.
    """

    def __init__(self, path: Path, siblings: Siblings | None = None) -> None:
        self.siblings = siblings
        # Immutable: no locks and no journal are looked for, so that a read-only or shared disk will do.
        self.path = path
        address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        self._db = sqlite3.connect(address, uri=True, check_same_thread=False)
        self._lock = threading.Lock()
        values = json.loads(self._db.execute("SELECT value FROM info").fetchone()[0])
        self.info = TableInfo.of(values)

    def __len__(self) -> int:
        return self.info.pictures

    @property
    def categories(self) -> list[dict[str, Any]]:
        """The classes as the source declares them."""
        return self.info.categories

    def find(self, *names: str) -> Record | None:
        """The record of the picture called by the first of ``names`` that the table knows, or ``None``.

        A name may be a sample key, a path, a file name or a stem. Folders must not contradict: ``0001`` and
        ``data/train/0001.jpg`` find ``train/0001.jpg``, ``val/0001`` does not. Image endings may differ, as after a
        conversion, but the same ending is preferred. Where no name fits, those that label tools make of one are tried.
        A picture whose label file has its folder beside (``siblings``) has that one before all others.

        Raises:
            BadSample: reason ``ambiguous_labels`` when several pictures fit equally well, ``bad_labels`` when the
                record has more than :data:`MAX_RECORD`.
        """
        for name in names:
            number = self._beside(name)
            if number is not None:
                return self._record(number)
        wanted = [*names, *(other for name in names for other in PictureName.others(name))]
        for query in (_BY_NAME, _BY_OTHER):
            for name in wanted:
                number = self._number(name, query)
                if number is not None:
                    return self._record(number)
        return None

    def names(self, numbers: list[int]) -> list[str]:
        """The names of some pictures, as the label source writes them."""
        with self._lock:
            return [
                self._db.execute("SELECT name FROM pictures WHERE number = ?", (number,)).fetchone()[0]
                for number in numbers
            ]

    def label_files(self) -> list[tuple[Folders, str]]:
        """(folders, stem) of the label files that are of one picture each and called like it."""
        with self._lock:
            rows = self._db.execute("SELECT folder, stem FROM pictures WHERE folder IS NOT NULL").fetchall()
        return [(_folders(folder), stem) for folder, stem in rows]

    def places(self) -> set[Folders]:
        """The folders in which pictures lie among the label files."""
        with self._lock:
            rows = self._db.execute("SELECT folder FROM places").fetchall()
        return {_folders(folder) for (folder,) in rows}

    def close(self) -> None:
        """Let go of the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _beside(self, name: str) -> int | None:
        asked = PictureName.parse(_clean(name))
        folders = None if self.siblings is None else self.siblings.labels_of(asked.folders)
        if folders is None:
            return None
        with self._lock:
            rows = self._db.execute(_BY_FOLDER, (asked.stem, "/".join(folders))).fetchall()
        return _only([number for (number,) in rows], name)

    def _number(self, name: str, query: str) -> int | None:
        asked = PictureName.parse(_clean(name))
        with self._lock:
            rows = self._db.execute(query, (asked.stem,)).fetchall()
        fitting: list[tuple[tuple[int, ...], int]] = []
        for number, theirs, hint, folder in rows:
            rank = asked.fit(PictureName.parse(theirs), hint)
            if rank is not None and not self._elsewhere(asked, folder):
                fitting.append((rank, number))
        if not fitting:
            return None
        best = max(rank for rank, _ in fitting)
        return _only([number for rank, number in fitting if rank == best], name)

    def _elsewhere(self, asked: PictureName, folder: str | None) -> bool:
        if self.siblings is None or folder is None:
            return False
        return self.siblings.contradict(asked.folders, _folders(folder))

    def _record(self, number: int) -> Record:
        with self._lock:
            packed, masks = self._db.execute(
                "SELECT record, masks FROM pictures WHERE number = ?", (number,)
            ).fetchone()
        if packed is None:
            raise BadSample("bad_labels", f"labels: more than {MAX_RECORD >> 20} MiB of text for one picture")
        return Record(number, _unpacked(packed), json.loads(masks) if masks else {})


def category_list(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Categories by id, as text; the first of two with one id."""
    by_id: dict[str, dict[str, Any]] = {}
    for category in found:
        by_id.setdefault(identity(category.get("id")), category)
    return by_id


def _only(numbers: list[int], name: str) -> int | None:
    """The one number, or ``None``. Raises BadSample for several."""
    if len(numbers) > 1:
        raise BadSample("ambiguous_labels", f"the label file has {len(numbers)} pictures that '{name}' may mean")
    return numbers[0] if numbers else None


def _folder(path: str) -> str:
    return "/".join(PictureName.parse(_clean(path)).folders)


def _folders(folder: str) -> Folders:
    return tuple(folder.split("/")) if folder else ()


def _clean(text: str) -> str:
    """Text that can be stored: JSON may hold halves of surrogate pairs, which UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def _packed(text: str) -> bytes:
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 1)


def _unpacked(data: bytes) -> str:
    # a character has up to four bytes
    return zlib.decompressobj().decompress(data, 4 * MAX_RECORD).decode("utf-8", "surrogatepass")
