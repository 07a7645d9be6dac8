"""Weights by URI: fetched once per node, kept with their checksum, named by content in a job's fingerprint.

What a URI may be:

- a path, or ``file://...``: used where it is;
- ``bundled://NAME``: ``methods/bundled/NAME/model.safetensors`` of this package;
- ``owner/name``, ``owner/name@revision`` or ``hf://owner/name[@revision][/file]``: a Hugging Face repository (a model
  folder in diffusers' layout, full-precision safetensors only) or one file of it;
- ``https://...``, ``s3://...`` and whatever else fsspec opens: one file, or a folder where the store can list. Of a
  graph model of TensorFlow.js (``.json``) the binary files that it names beside it come along, as a folder.

``#sha256=<64 hex>`` after a fetched file's URI pins its content; storage options (``#endpoint_url=...``, see
:mod:`methods.uris`) say how an object store is reached. The cache is ``$SCENESHIFT_CACHE``, else
``~/.cache/sceneshift``. With ``$SCENESHIFT_MIRROR`` everything that would be fetched is taken from a copy of one's own
(:mod:`methods.weights.mirror`) if that holds it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from methods.errors import InputError
from methods.weights import cache, hub
from methods.weights.address import Kind, kind_of, redacted
from methods.weights.beside import beside, graph_file
from methods.weights.cache import cache_folder
from methods.weights.mirror import Mirror

BUNDLED = Path(__file__).resolve().parents[1] / "bundled"

__all__ = ["BUNDLED", "are_same", "cache_folder", "fetch", "go_offline", "identity", "redacted"]


def fetch(uri: str) -> Path:
    """The local path of ``uri``: a file or a folder. Fetched at most once per node, however many processes ask.

    Raises:
        InputError: it is not there, cannot be reached, or is not what ``#sha256=`` or the mirror says. Never holds a
            secret.
    """
    kind = kind_of(uri)
    if kind == Kind.BUNDLED:
        return _bundled(uri)
    if kind == Kind.PATH:
        path = Path(uri.removeprefix("file://")).expanduser()
        if not path.exists():
            raise InputError(f"weights '{uri}': no such file, folder, or hub id (owner/name)")
        return path
    mirror = Mirror.configured()
    if kind == Kind.REMOTE:
        return cache.fetch(uri, mirror)
    if mirror is not None and (cache.find(uri) or mirror.entry(uri)):
        return cache.fetch(uri, mirror)
    return hub.fetch(uri, "" if mirror is None else f", and the mirror {mirror} does not hold it")


def identity(uri: str, before: Collection[str] = ()) -> str:
    """What stands for ``uri`` in a job's fingerprint, the same whether the mirror or the origin was asked.

    - ``tensors:...`` for a safetensors file: of its tensors and configuration (:mod:`methods.weights.contents`), so
      that a file that another program has written anew is the same weights;
    - ``sha256:...`` for any other file, of its bytes; for a folder, of its model files by name and bytes, and likewise
      for a graph model of TensorFlow.js (a ``.json``, or a folder with it alone) and its files beside it;
    - ``hub:id@commit`` for what comes from the hub.

    Sums are kept in the cache by path, size and time, so that a large file is read once. Pins (``#sha256=``), downloads
    and mirrors compare bytes, whatever the file holds.

    Args:
        uri: of the weights.
        before: names by which weights were known earlier. Until version 0.2 a safetensors file was known by its bytes:
            if that name is among these, and still right, it is the answer.

    Raises:
        InputError: as :func:`fetch`.
    """
    path = fetch(uri)
    if kind_of(uri) == Kind.HUB:
        return hub.identity(uri, path, cache.record_beside(path).get("commit"))
    if (graph := graph_file(path)) is not None:
        return _of_files(graph.parent, [graph, *(graph.parent / name for name in beside(graph))])
    if path.is_file():
        contents = cache.kept_contents(path)
        if contents is None:
            return _of_bytes(path)
        named = f"tensors:{contents}"
        by_bytes = named not in before and any(name.startswith("sha256:") for name in before)
        return old if by_bytes and (old := _of_bytes(path)) in before else named
    return _of_files(path, hub.model_files(path))


def are_same(uri: str, one: str, other: str) -> bool:
    """Whether two names, of which one may be an earlier version's, stand for the weights that ``uri`` holds now."""
    if one == other:
        return True
    try:
        return identity(uri, (one,)) == one and identity(uri, (other,)) == other
    except InputError:
        return False


def _of_files(folder: Path, files: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for file in sorted(files):
        if not file.is_file():
            raise InputError(f"{folder}: {file.name}, which a file there names beside it, is missing")
        total.update(f"{file.relative_to(folder).as_posix()}\0{cache.kept_sum(file)}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _of_bytes(path: Path) -> str:
    return f"sha256:{cache.kept_sum(path)}"


def go_offline(uris: Sequence[str]) -> None:
    """Fetch these, then keep the Hugging Face libraries of this process from asking the hub for anything.

    For worker processes: what they load is on their node by then, and ten of them need not ask ten times.

    Raises:
        InputError: as :func:`fetch`.
    """
    for uri in uris:
        fetch(uri)
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Read from the environment once, when it is imported.
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_OFFLINE = True  # pyright: ignore[reportAttributeAccessIssue]


def _bundled(uri: str) -> Path:
    name = uri.removeprefix("bundled://")
    known = sorted(place.parent.name for place in BUNDLED.glob("*/model.safetensors"))
    if name not in known:
        raise InputError(f"weights '{uri}': nothing bundled of that name, there is: {', '.join(known) or 'none'}")
    return BUNDLED / name / "model.safetensors"
