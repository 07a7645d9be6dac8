"""A copy of weights in a folder or bucket of one's own, which ``$SCENESHIFT_MIRROR`` names.

Files are kept by content, ``blobs/<sha256>``, and each URI has an index file with the sizes and sums of its files, put
last: a mirror that is being filled or renewed serves either the old weights or the new ones. A URI that the mirror
does not hold is fetched from where it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from methods.errors import InputError
from methods.uris import StorageOptions, resolved_uri, split
from methods.weights.address import redacted
from methods.weights.download import Origin
from methods.weights.entry import WeightsEntry, sum_of
from methods.weights.stores import is_missing, open_store, plain_errors

VARIABLE = "SCENESHIFT_MIRROR"


@dataclass(frozen=True)
class Mirror:
    """A mirror at ``uri``, a folder's absolute path or any URI that fsspec opens and lists."""

    uri: str
    options: StorageOptions

    @classmethod
    def configured(cls) -> Mirror | None:
        """The one of the environment; ``None`` if none is set."""
        text = os.environ.get(VARIABLE)
        return cls.at(text) if text else None

    @classmethod
    def at(cls, text: str) -> Mirror:
        """A mirror by its address; storage options may stand behind ``#``.

        Raises:
            InputError: a variable in it is not set, it holds a password, or the options are wrong.
        """
        bare, _, options = split(text)
        bare = resolved_uri(bare, VARIABLE)
        uri = bare if "://" in bare else str(Path(bare).expanduser().resolve())
        return cls(uri.rstrip("/"), options)

    def __str__(self) -> str:
        return redacted(self.uri)

    def entry(self, uri: str) -> WeightsEntry | None:
        """What the mirror holds of a URI; ``None`` if nothing.

        Raises:
            InputError: the mirror cannot be reached, holds nothing at all, or its index file is damaged.
        """
        store, root = self._opened
        place = f"{root}/{_index_name(uri)}"
        with plain_errors(self._label):
            try:
                data = store.cat_file(place)
            except Exception as error:
                if not is_missing(error):
                    raise
                if not store.exists(root):
                    raise InputError(f"{self._label}: nothing there; `sceneshift weights mirror` fills it") from None
                return None
        try:
            return WeightsEntry.from_record(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{self._label}: {_index_name(uri)} is damaged; delete it and mirror {redacted(uri)} again"
            ) from None

    def get(self, uri: str, entry: WeightsEntry, target: Path) -> None:
        """Fetch the files of a URI to ``target``, a file or a folder, each checked against the index.

        Raises:
            InputError: a file is missing from the mirror or is not what the index says.
        """
        for name, wanted in entry.files.items():
            place = target / name if name else target
            label = f"weights '{redacted(uri)}': {name or place.name} on the mirror {self}"
            hint = "; `sceneshift weights mirror` renews the copy"
            try:
                Origin(self._blob(wanted.sha256), self.options, label).get("", place, wanted.sha256)
            except InputError as error:
                raise InputError(f"{error}{hint}") from None

    def put(self, uri: str, entry: WeightsEntry, path: Path) -> int:
        """Copy the files of a URI from ``path``, those that are missing or of another size; then its index file.

        Returns:
            The bytes that were copied.
        """
        store, root = self._opened
        copied = 0
        with plain_errors(self._label):
            store.makedirs(f"{root}/blobs", exist_ok=True)
            store.makedirs(f"{root}/index", exist_ok=True)
            for name, each in entry.files.items():
                blob = f"{root}/blobs/{each.sha256}"
                if not store.exists(blob) or store.info(blob)["size"] != each.size:
                    store.put_file(str(path / name if name else path), blob)
                    copied += each.size
            store.pipe_file(f"{root}/{_index_name(uri)}", json.dumps(entry.as_record(), indent=1).encode())
        return copied

    def renew(self, uri: str, entry: WeightsEntry, path: Path) -> int:
        """As :meth:`put`, files that are there but damaged copied too: each is read from the mirror."""
        store, root = self._opened
        damaged = set(self.damaged(entry))
        with plain_errors(self._label):
            for name, each in entry.files.items():
                if name in damaged and store.exists(blob := f"{root}/blobs/{each.sha256}"):
                    store.rm_file(blob)
        return self.put(uri, entry, path)

    def damaged(self, entry: WeightsEntry) -> list[str]:
        """The files of a URI that are missing from the mirror, or not what its index says; all are read."""
        store, root = self._opened
        wrong = []
        with plain_errors(self._label):
            for name, each in entry.files.items():
                blob = f"{root}/blobs/{each.sha256}"
                if store.exists(blob):
                    with store.open(blob, "rb") as file:
                        if sum_of(file) == each.sha256:
                            continue
                wrong.append(name)
        return wrong

    @property
    def _label(self) -> str:
        return f"{VARIABLE} {self}"

    def _blob(self, sha256: str) -> str:
        return f"{self.uri}/blobs/{sha256}"

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        store, root = open_store(self.uri, self.options, self._label)
        return store, root.rstrip("/")


def _index_name(uri: str) -> str:
    """``index/<what a person can recognise>-<16 hex of the address>.json``."""
    bare, _, options = split(uri)
    given = options.model_dump(exclude_defaults=True)
    bare = bare.removeprefix("hf://")
    address = f"{bare}\0{json.dumps(given, sort_keys=True)}"
    shown = re.sub(r"[^\w.@-]+", "-", redacted(bare))[-60:].strip("-.")
    return f"index/{shown}-{hashlib.sha256(address.encode()).hexdigest()[:16]}.json"
