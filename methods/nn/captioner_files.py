"""The files of a captioner. No torch, so that a job's fingerprint is computed without loading one."""

from __future__ import annotations

from pathlib import Path

FILES = ("config.json", "model.safetensors", "tokenizer.json")


def captioner_uris(uri: str) -> list[str]:
    """The URIs of a captioner's files, in the order of :data:`FILES`.

    Args:
        uri: a hub id (``Salesforce/blip-image-captioning-base``, ``hf://owner/name@revision``), a folder, or the URI of
            one. Named one by one, because such repositories also hold the weights in formats that are not needed.
    """
    local = "://" not in uri and Path(uri).expanduser().exists()
    if uri.startswith("hf://") or ("://" not in uri and not local):
        return [f"hf://{uri.removeprefix('hf://')}/{name}" for name in FILES]
    return [f"{uri.rstrip('/')}/{name}" for name in FILES]
