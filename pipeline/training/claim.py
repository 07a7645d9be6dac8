"""Whose output a training folder is: looked up before anything is built, written down once all is known to fit."""

from __future__ import annotations

import json
import logging
import posixpath
import re
import secrets
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from methods.errors import InputError
from methods.train.checkpoint import FOLDER as CHECKPOINTS
from methods.train.checkpoint import steps_of
from methods.train.loop import BEST
from methods.train.selection import Selection
from pipeline.paths import LOCK_FILE, TRAIN_FILE
from pipeline.storage import Store
from pipeline.training.spec import TrainSpec, ValidationSpec

_log = logging.getLogger(f"sceneshift.{__name__}")

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

    Where ``validation.best`` names something else than before, the best weights so far get the old one's name.

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
    after = _chosen_after(store, before, spec.validation.selection)
    _set_aside(store, before, spec.validation.selection, after)
    now = {
        "version": _VERSION,
        "identity": identity,
        "fingerprint": spec.fingerprint,
        "shaping": spec.shaping(),
        "spec": spec.as_tree(),
        "best_after": after,
    }
    store.put(TRAIN_FILE, json.dumps(now, indent=1).encode())
    return identity


def selection_of(store: Store, spec: TrainSpec) -> Selection | None:
    """How the validations of a training are compared; those from before ``validation.best`` was changed do not count.

    Their weights are not there any more, unless they were the best by another measure.
    """
    selection = spec.validation.selection
    if selection is None:
        return None
    return replace(selection, after=_chosen_after(store, stored_training(store), selection))


def validated_as(before: dict[str, Any] | None, spec: TrainSpec) -> bool:
    """Whether a stored training has validated, or been looked at, by the validation of this spec."""
    return before is not None and before.get("spec", {}).get("validation") == spec.as_tree()["validation"]


def _chosen_after(store: Store, before: dict[str, Any] | None, selection: Selection | None) -> int:
    """The step from which on validations are candidates for the best one."""
    if before is None or selection is None or selection.chooses_as(_stored_selection(before)):
        return int((before or {}).get("best_after", 0))
    return max(steps_of(PurePosixPath(entry.path).name for entry in store.list(CHECKPOINTS)), default=0)


def _stored_selection(before: dict[str, Any]) -> Selection | None:
    try:
        return ValidationSpec.model_validate(before.get("spec", {}).get("validation", {})).selection
    except ValidationError:
        return None


def _set_aside(store: Store, before: dict[str, Any] | None, selection: Selection | None, after: int) -> None:
    """Give the best weights by what ``validation.best`` was before a name that says so."""
    old = None if before is None else _stored_selection(before)
    if old is None or old.chooses_as(selection):
        return
    for entry in store.list():
        stem, ending = posixpath.splitext(entry.path)
        if stem != PurePosixPath(BEST).stem:
            continue
        name = f"{stem}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', old.metric)}{ending}"
        store.fs.mv(store.path(entry.path), store.path(name))
        now = f"is {selection.metric}: chosen anew after step {after}" if selection is not None else "is none"
        _log.warning("validation.best was %s, %s; the best weights until now are %s", old.metric, now, store.uri(name))


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Settings in which two descriptions differ, for a person: ``batch_size was 4, is 8``."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [each for key in keys for each in differences(old.get(key), new.get(key), f"{path}{key}.")]
    return [] if old == new else [f"{path.rstrip('.')} was {old!r}, is {new!r}"]
