"""Weights of the Hugging Face Hub, kept in the hub's own cache."""

from __future__ import annotations

import hashlib
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from methods.errors import InputError, first_line
from methods.weights.entry import FileSum

_SECONDS = 5.0
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
    "preprocessor_config.json",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_lora_weights.safetensors",
)


def is_model_file(relative: str) -> bool:
    """Whether a file of a model folder is one that is read."""
    return any(Path(relative).match(pattern) for pattern in _MODEL_FILES)


def model_files(folder: Path) -> list[Path]:
    """Those files of a folder that are read."""
    found = [file for file in sorted(folder.rglob("*")) if is_model_file(file.relative_to(folder).as_posix())]
    return [file for file in found if file.is_file()]


def parts(uri: str) -> tuple[str, str | None, str | None]:
    """Repository, revision and file of a hub URI. Raises InputError for another form."""
    match = _HUB.fullmatch(uri)
    if match is None:
        raise InputError(f"weights '{uri}': expected owner/name, owner/name@revision or hf://owner/name/file")
    return match[1], match[2], match["file"]


def fetch(uri: str, besides: str = "") -> Path:
    """A model folder or a file in the hub's cache, fetched if need be. ``besides`` is added to what cannot be reached.

    Raises:
        InputError: no such repository, revision or file, no access, or no way to the hub.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, revision, file = parts(uri)
    # the hub's own client tries for half a minute to reach a hub that is not there
    here = not _answers()
    try:
        if file:
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=here))
        patterns: list[str] = list(_MODEL_FILES)
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, local_files_only=here))
    except LocalEntryNotFoundError:
        hint = f"not in the local hub cache, and the hub cannot be reached{besides}: go online, or name a local folder"
        raise InputError(f"weights '{uri}': {hint}") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "no answer")
        raise InputError(f"weights '{uri}': the hub says {status}: check the name, the revision and HF_TOKEN") from None
    except (HFValidationError, OSError, ValueError) as error:
        raise InputError(f"weights '{uri}': {first_line(error)}") from None


def _answers() -> bool:
    """Whether something listens at the hub's address; behind a proxy only the client itself can find out."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    address = urlsplit(constants.ENDPOINT)
    if not address.hostname or getproxies().keys() & {address.scheme, "all"}:
        return True
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=_SECONDS):
            return True
    except OSError:
        return False


def find(uri: str) -> Path | None:
    """What the hub's cache on this node holds of a hub URI; the hub is not asked."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, revision, file = parts(uri)
    try:
        if file:
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
        # the same choice as in fetch: a snapshot is looked for by the files that are wanted of it
        patterns: list[str] = list(_MODEL_FILES)
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None


def identity(uri: str, path: Path, commit: str | None) -> str:
    """``hub:repository@commit[/file]``; ``commit`` where the files came from a mirror, which notes it."""
    repository, _, file = parts(uri)
    return f"hub:{repository}@{commit or commit_of(path)}" + (f"/{file}" if file else "")


def commit_of(path: Path) -> str:
    """The commit of a path in the hub's cache, which is ``.../snapshots/<commit>/...``."""
    return path.parts[path.parts.index("snapshots") + 1] if "snapshots" in path.parts else "unknown"


def is_damaged(path: Path) -> bool:
    """Whether a file of the hub's cache differs from its checksum, after which the cache names it.

    Large files are named by their SHA-256, small ones by the checksum that git gives them; others are not checked.
    """
    name = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return FileSum.of(path).sha256 != name
    if re.fullmatch(r"[0-9a-f]{40}", name):
        data = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() != name
    return False
