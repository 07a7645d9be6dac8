"""Whose output a training folder is: looked up before anything is built, written down once all is known to fit."""

from __future__ import annotations

import json
import secrets
from typing import Any

from methods.errors import InputError
from pipeline.paths import LOCK_FILE, TRAIN_FILE
from pipeline.storage import Store
from pipeline.training.spec import TrainSpec

_VERSION = 1


def stored_training(store: Store) -> dict[str, Any] | None:
    """The output's ``train.json``, or ``None`` for a fresh output."""
    data = store.read_or_none(TRAIN_FILE)
    if data is None:
        return None
    try:
        tree = json.loads(data)
    except ValueError:
        tree = None
    if not isinstance(tree, dict):
        raise InputError(f"{store.uri(TRAIN_FILE)}: not readable; the output is damaged or not one of ours")
    return tree


def check_claim(store: Store, spec: TrainSpec, *, fresh: bool = False) -> None:
    """Whether the output is free or this spec's. Writes nothing.

    Raises:
        InputError: the output belongs to another spec; what differs is named.
    """
    before = None if fresh else stored_training(store)
    if before is not None and before.get("fingerprint") != spec.fingerprint:
        differs = ", ".join(differences(before.get("shaping", {}), spec.shaping())[:4])
        raise InputError(
            f"{store.uri()}: holds a training of another spec ({differs}); give another output, or pass --fresh"
        )


def claim(store: Store, spec: TrainSpec, *, fresh: bool = False) -> str:
    """Write down whose output this is; with ``fresh``, throw away what an earlier training left there first.

    Returns 16 hex digits that stand for this training from its first attempt to its last, and for no other.

    Raises:
        InputError: as :func:`check_claim`.
    """
    check_claim(store, spec, fresh=fresh)
    if fresh and stored_training(store) is not None:
        for entry in store.list():
            if entry.path != LOCK_FILE:
                store.delete(entry.path)
    before = None if fresh else stored_training(store)
    identity = str((before or {}).get("identity") or secrets.token_hex(8))
    now = {
        "version": _VERSION,
        "identity": identity,
        "fingerprint": spec.fingerprint,
        "shaping": spec.shaping(),
        "spec": spec.as_tree(),
    }
    store.put(TRAIN_FILE, json.dumps(now, indent=1).encode())
    return identity


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Settings in which two descriptions differ, for a person: ``batch_size was 4, is 8``."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [each for key in keys for each in differences(old.get(key), new.get(key), f"{path}{key}.")]
    return [] if old == new else [f"{path.rstrip('.')} was {old!r}, is {new!r}"]
