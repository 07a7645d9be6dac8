"""Whether anything can be written to an output, found out before weights are fetched and workers are started for it."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterable

from methods.errors import InputError
from pipeline.paths import PROBE, SUCCESS_FILE
from pipeline.spec import JobSpec
from pipeline.storage import Store, explained
from pipeline.uris import printable


def require_writable(specs: Iterable[JobSpec], *, fresh: bool = False) -> None:
    """Refuse an output in which nothing can be written. Leaves nothing behind.

    One that is finished is left alone: it may have been put where it is only read since.

    Raises:
        InputError: nothing can be written there.
    """
    for spec in specs:
        store = Store(spec.output.uri, spec.output.storage)
        if fresh or not store.exists(SUCCESS_FILE):
            try_to_write(store)


def try_to_write(store: Store) -> None:
    """Raise InputError where nothing can be written. Leaves nothing behind."""
    if not store.local:
        name = f"{PROBE}-{secrets.token_hex(4)}"
        try:
            store.put(name, b"")
            store.delete(name)
        except InputError as error:
            # what cannot be written is the output; the probe's name says nothing to anybody
            raise InputError(str(error).replace(store.uri(name), store.uri())) from error
        return
    folder = store.path()
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    try:
        with explained(folder):
            tempfile.TemporaryFile(dir=folder).close()
    except InputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        # of a system's own folder, such as /proc, in which nobody makes files
        raise InputError(f"{printable(folder)}: no file can be made here; choose another place") from None
