"""Weights by URI: fetched once per node, kept with their checksum, named by content in a job's fingerprint.

What a URI may be:

- a path, or ``file://...``: used where it is;
- ``bundled://NAME``: ``methods/bundled/NAME/model.safetensors`` of this package;
- ``owner/name``, ``owner/name@revision`` or ``hf://owner/name[@revision][/file]``: a Hugging Face repository (a model
  folder in diffusers' layout, full-precision safetensors only) or one file of it;
- ``https://...``, ``s3://...`` and whatever else fsspec opens: one file, or a folder where the store can list.

``#sha256=<64 hex>`` after a fetched file's URI pins its content; storage options (``#endpoint_url=...``, see
:mod:`methods.uris`) say how an object store is reached. The cache is ``$SCENESHIFT_CACHE``, else
``~/.cache/sceneshift``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from methods.errors import InputError, first_line
from methods.files import write_text
from methods.uris import StorageOptions, split

_RETRY_AFTER = (0.3, 1.0)
BUNDLED = Path(__file__).parent / "bundled"
_HUB = re.compile(r"(?:hf://)?([\w.-]+/[\w.-]+?)(?:@([\w./-]+?))?(?:/(?P<file>[\w./-]+))?")
# what from_pretrained reads of a model folder; a repository holds the same weights in several formats and precisions
_MODEL_FILES = (
    "model_index.json",
    "*/config.json",
    "*/scheduler_config.json",
    "tokenizer*/*",
    "*/diffusion_pytorch_model.safetensors",
    "*/diffusion_pytorch_model-*-of-*.safetensors",
    "*/diffusion_pytorch_model.safetensors.index.json",
    "*/model.safetensors",
    "*/model-*-of-*.safetensors",
    "*/model.safetensors.index.json",
    # what a model for pictures and text brings beside its networks
    "*/preprocessor_config.json",
    "processor/*.json",
    # a network or a LoRA by itself
    "config.json",
    "diffusion_pytorch_model.safetensors",
    "pytorch_lora_weights.safetensors",
)


def fetch(uri: str) -> Path:
    """The local path of ``uri``: a file or a folder. Fetched at most once per node, however many processes ask.

    Raises:
        InputError: it is not there, cannot be reached, or is not what ``#sha256=`` says. Never holds a secret.
    """
    scheme = _scheme(uri)
    if scheme == "bundled":
        return _bundled(uri)
    if scheme == "hub":
        return _hub(uri)
    if scheme == "path":
        path = Path(uri.removeprefix("file://")).expanduser()
        if not path.exists():
            raise InputError(f"weights '{uri}': no such file, folder, or hub id (owner/name)")
        return path
    return _remote(uri)


def identity(uri: str) -> str:
    """What stands for ``uri`` in a job's fingerprint: ``sha256:...`` of its content, or ``hub:id@commit``.

    A folder's sum covers its model files by name and content. Sums are kept in the cache by path, size and time, so
    that a large file is read once.

    Raises:
        InputError: as :func:`fetch`.
    """
    if _scheme(uri) == "hub":
        repository, _, file = _hub_parts(uri)
        path = _hub(uri)
        # the cache of huggingface_hub is .../snapshots/<commit>/...
        commit = path.parts[path.parts.index("snapshots") + 1] if "snapshots" in path.parts else "unknown"
        return f"hub:{repository}@{commit}" + (f"/{file}" if file else "")
    path = fetch(uri)
    if path.is_file():
        return f"sha256:{_kept_sum(path)}"
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path).as_posix()
        if file.is_file() and any(Path(relative).match(pattern) for pattern in _MODEL_FILES):
            total.update(f"{relative}\0{_kept_sum(file)}\n".encode())
    return f"sha256:{total.hexdigest()}"


def cache_folder() -> Path:
    """Where fetched weights and their sums are kept."""
    return Path(os.environ.get("SCENESHIFT_CACHE") or "~/.cache/sceneshift").expanduser()


def redacted(uri: str) -> str:
    """``uri`` without user, password, query and fragment: fit for messages and reports."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _scheme(uri: str) -> str:
    """``bundled``, ``hub``, ``path`` or ``remote``. A path that exists wins over a hub id of the same look."""
    head, separator, _ = uri.partition("://")
    if separator:
        return {"bundled": "bundled", "hf": "hub", "file": "path"}.get(head, "remote")
    if not Path(uri).expanduser().exists() and re.fullmatch(r"[\w][\w.-]*/[\w.-]+(@[\w./-]+)?", uri):
        return "hub"
    return "path"


def _bundled(uri: str) -> Path:
    name = uri.removeprefix("bundled://")
    known = sorted(place.parent.name for place in BUNDLED.glob("*/model.safetensors"))
    if name not in known:
        raise InputError(f"weights '{uri}': nothing bundled of that name, there is: {', '.join(known) or 'none'}")
    return BUNDLED / name / "model.safetensors"


def _hub_parts(uri: str) -> tuple[str, str | None, str | None]:
    match = _HUB.fullmatch(uri)
    if match is None:
        raise InputError(f"weights '{uri}': expected owner/name, owner/name@revision or hf://owner/name/file")
    return match[1], match[2], match["file"]


def _hub(uri: str) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, revision, file = _hub_parts(uri)
    try:
        if file:
            return Path(hf_hub_download(repository, file, revision=revision))
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(_MODEL_FILES)))
    except LocalEntryNotFoundError:
        hint = "not in the local hub cache, and the hub cannot be reached: go online, or name a local folder"
        raise InputError(f"weights '{uri}': {hint}") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "no answer")
        raise InputError(f"weights '{uri}': the hub says {status}: check the name, the revision and HF_TOKEN") from None
    except (HFValidationError, OSError, ValueError) as error:
        raise InputError(f"weights '{uri}': {first_line(error)}") from None


def _remote(uri: str) -> Path:
    """Download through fsspec into the cache under a lock; a file moves into place when it is whole."""
    bare, wanted, options = split(uri)
    given = options.model_dump(exclude_defaults=True)
    place = f"{bare}\0{json.dumps(given, sort_keys=True)}" if given else bare
    folder = cache_folder() / "weights" / hashlib.sha256(place.encode()).hexdigest()[:16]
    target = folder / (Path(urlsplit(bare).path).name or "weights")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        record = _read_json(folder / "record.json")
        if not target.exists() or not _as_recorded(target, record):
            record = _download(bare, target, options)
            write_text(folder / "record.json", json.dumps(record))
    if wanted is not None:
        found = record.get("sha256") if target.is_file() else "a folder"
        if found != wanted:
            raise InputError(
                f"weights '{redacted(uri)}': sha256 is {found}, expected {wanted}: delete {target} if it is stale"
            )
    return target


def _download(uri: str, target: Path, options: StorageOptions) -> dict[str, Any]:
    """Fetch into ``target`` (a file, or a folder's files), trying again what may pass, and return what to remember."""
    part = target.with_name(f".part-{target.name}")
    for wait in (*_RETRY_AFTER, None):
        if part.is_dir():
            shutil.rmtree(part)
        try:
            _copy(uri, part, options)
            break
        except InputError:
            raise
        except PermissionError:
            raise InputError(f"weights '{redacted(uri)}': access denied, check the credentials") from None
        except (ImportError, ValueError) as error:
            raise InputError(f"weights '{redacted(uri)}': cannot be opened ({first_line(error)})") from None
        except Exception as error:
            # fsspec's HTTP store reports a refused connection as a missing file too, with the reason as its cause
            reason = error.__cause__ or error
            if isinstance(reason, FileNotFoundError) or getattr(reason, "status", None) == 404:
                raise InputError(f"weights '{redacted(uri)}': nothing there") from None
            if wait is None:
                # stores raise classes of their own (aiohttp, botocore, ...), whose texts may hold signed URLs
                raise InputError(f"weights '{redacted(uri)}': cannot be fetched ({type(reason).__name__})") from None
            time.sleep(wait)
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(part, target)
    if target.is_dir():
        return {"files": _sizes(target)}
    return {"size": target.stat().st_size, "sha256": _sum(target)}


def _copy(uri: str, part: Path, options: StorageOptions) -> None:
    from fsspec.core import url_to_fs

    store, path = url_to_fs(uri, **options.arguments(urlsplit(uri).scheme))
    if urlsplit(uri).scheme not in ("http", "https") and store.isdir(path):
        store.get(f"{path.rstrip('/')}/", f"{part}/", recursive=True)
    else:
        with store.open(path, "rb") as source, part.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 22)


def _as_recorded(target: Path, record: dict[str, Any]) -> bool:
    """Whether what lies in the cache still has the sizes it was fetched with."""
    if target.is_dir():
        return record.get("files") == _sizes(target)
    return record.get("size") == target.stat().st_size


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(files)}


def _kept_sum(path: Path) -> str:
    """The file's sha256, read from the cache if path, size and time are those of an earlier sum."""
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()
    kept = cache_folder() / "sums" / key
    try:
        return kept.read_text()
    except OSError:
        found = _sum(path)
    try:
        write_text(kept, found)
    except OSError:
        # a cache that cannot be written costs time, not correctness
        return found
    return found


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel frees it when the process dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
