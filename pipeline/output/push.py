"""Uploading an output, or an exported folder, to a dataset repository of the Hugging Face Hub by its own client."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from methods.counting import counted
from methods.errors import InputError
from pipeline.output.export.folder import MANIFEST
from pipeline.paths import (
    CARD_FILE,
    DATA,
    IMAGES,
    INDEX,
    JOB_FILE,
    LABELS_FILE,
    MERGED_INDEX,
    METRICS_FILE,
    REPORT,
    SUCCESS_FILE,
)
from pipeline.plan import committed_parts
from pipeline.storage import Entry, Store, redact

Watch = Callable[[int, int], None]
"""Called with (files done, files in all)."""

_TARGET = re.compile(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+?)/?")
_MOST_FILES, _MOST_BYTES = 100, 1 << 30
_LAST = (CARD_FILE, MERGED_INDEX, METRICS_FILE, LABELS_FILE, SUCCESS_FILE)
"""What readers begin with; uploaded when all that it speaks of is there."""


@dataclass
class PushSummary:
    """What was uploaded: files and bytes, and how many files were there already."""

    repository: str
    url: str
    files: int = 0
    bytes: int = 0
    already: int = 0
    commits: int = 0


def repository_of(target: str) -> str:
    """``owner/name`` of ``hf://owner/name`` or ``hf://datasets/owner/name``. Raises InputError for anything else."""
    found = _TARGET.fullmatch(target)
    if found is None:
        raise InputError(f"{target}: write the repository as hf://owner/name")
    return found.group(1)


def push(
    store: Store, target: str, *, private: bool = False, watch: Watch = lambda done, total: None, client: Any = None
) -> PushSummary:
    """Upload what is committed. Files that are there with the same content are left alone, so a push that broke off
    goes on.

    Args:
        store: an output, or a folder that ``export`` wrote.
        private: for a repository that is made now.
        client: a ``huggingface_hub.HfApi``; by default one with the endpoint and token of the environment.

    Raises:
        InputError: nothing to upload, no or a wrong token, a repository that may not be written, or no answer.
    """
    repository = repository_of(target)
    entries = list(_entries(store))
    with _explained(repository):
        from huggingface_hub import HfApi

        api = client or HfApi()
        url = api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        summary = PushSummary(repository, str(url))
        there = _there(api, repository)
        for batch in _batches(entries):
            left = [entry for entry in batch if not _same(store, entry, there.get(entry.path))]
            summary.already += len(batch) - len(left)
            if left:
                _commit(api, repository, store, left)
                summary.commits += 1
            summary.files += len(left)
            summary.bytes += sum(entry.size for entry in left)
            watch(summary.files + summary.already, len(entries))
    return summary


def _entries(store: Store) -> Iterator[Entry]:
    """The files to upload, those last that readers begin with. Nothing of shards that are not committed."""
    if store.exists(JOB_FILE):
        parts = {f"{stem}-{part:04d}" for stem, found in committed_parts(store).items() for part in found}
        if not parts:
            raise InputError(f"{redact(store.uri())}: nothing is committed yet; run the job first")
        kept = [entry for entry in store.list() if _belongs(entry.path, parts)]
    elif store.exists(MANIFEST):
        kept = [entry for entry in store.list() if entry.path != MANIFEST]
    else:
        raise InputError(
            f"{redact(store.uri())}: neither an output of ours nor a folder that export wrote; check the path"
        )
    yield from sorted(kept, key=lambda entry: (entry.path in _LAST, entry.path))


def _belongs(path: str, shards: set[str]) -> bool:
    folder, _, rest = path.partition("/")
    if folder in (DATA, INDEX):
        return rest.rpartition(".")[0] in shards
    if folder == IMAGES:
        return rest.partition("/")[0] in shards
    return folder == REPORT or path in (*_LAST, JOB_FILE)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == _MOST_FILES or size + entry.size > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def _there(api: Any, repository: str) -> Mapping[str, Any]:
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repository, repo_type="dataset", recursive=True)
    return {each.path: each for each in tree if isinstance(each, RepoFile)}


def _same(store: Store, entry: Entry, there: Any) -> bool:
    """Whether the repository has this very content: by SHA-256 for large files, by git's own hash for small ones."""
    if there is None or there.size != entry.size:
        return False
    data = store.read(entry.path)
    if there.lfs is not None:
        return hashlib.sha256(data).hexdigest() == there.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == there.blob_id


def _commit(api: Any, repository: str, store: Store, entries: list[Entry]) -> None:
    from huggingface_hub import CommitOperationAdd

    operations = [
        CommitOperationAdd(entry.path, store.path(entry.path) if store.local else store.read(entry.path))
        for entry in entries
    ]
    message = f"{entries[0].path} and {counted(len(entries) - 1, 'more file')}" if len(entries) > 1 else entries[0].path
    api.create_commit(repository, operations, commit_message=message, repo_type="dataset")


class _explained:
    """Turns what the hub's client says into one line."""

    def __init__(self, repository: str) -> None:
        self._repository = repository

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, InputError) or not isinstance(error, Exception):
            return
        where = f"hf://{self._repository}"
        status = getattr(getattr(error, "response", None), "status_code", None)
        name = type(error).__name__
        if status == 401 or name == "LocalTokenNotFoundError":
            said = "is not valid" if os.environ.get("HF_TOKEN") else "is missing or not valid"
            raise InputError(f"{where}: the token {said}; set HF_TOKEN to one that may write") from error
        if status == 403:
            raise InputError(f"{where}: the token may not write here; use one with write access") from error
        if status == 404:
            raise InputError(f"{where}: there is no such owner, or the token may not see it") from error
        if name == "OfflineModeIsEnabled":
            raise InputError(f"{where}: HF_HUB_OFFLINE is set; unset it to upload") from error
        if name in ("ConnectError", "ConnectTimeout", "ReadTimeout", "ConnectionError", "RemoteProtocolError"):
            raise InputError(
                f"{where}: the hub does not answer; check the network, and HF_ENDPOINT if it is set"
            ) from error
        if isinstance(error, ValueError) or status == 400:
            raise InputError(f"{where}: {str(error).strip().splitlines()[0]}") from error
