"""What a file's name says of it: pictures that are read, pictures that are not, and what systems leave beside data."""

from __future__ import annotations

IMAGE_SUFFIXES = (
    *("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif"),
    *("jpe", "jfif", "mpo", "dib", "avif", "heic", "heif", "ppm", "pgm", "pbm", "pnm"),
)
"""Endings of pictures that are read; of several in one sample the first in this order is its picture."""

UNREAD_PICTURES = frozenset(
    [
        *("jp2", "j2k", "jpx", "jxl", "jxr", "tga", "psd", "xcf", "svg", "eps", "ico", "exr", "hdr", "pfm", "dds"),
        *("pcx", "sgi", "bpg", "dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2", "pef", "srw", "raw"),
    ]
)
"""Endings of pictures that no reader here opens."""

PACKED = (".zip", ".7z", ".rar", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Endings of archives that are not read."""

_DATA = frozenset(
    [
        *("json", "jsonl", "txt", "xml", "csv", "tsv", "yaml", "yml", "toml", "md", "html", "htm", "pdf", "log"),
        *("text", "npy", "npz", "pkl", "pt", "pth", "safetensors", "h5", "hdf5", "mat", "bin", "cls", "caption", "py"),
        *("tar", "gz", "tgz", "xz", "bz2", "zst", "zip", "7z", "rar", "parquet", "pq", "arrow", "feather"),
        *("db", "sqlite", "ipynb", "sh", "lock", "mp4", "avi", "mov", "mkv", "webm", "wav", "mp3", "flac"),
    ]
)


def ending(path: str) -> str:
    """What follows the last dot of the file name, in lower case; empty where there is none."""
    base = path.rpartition("/")[2]
    return base.rpartition(".")[2].lower() if "." in base.lstrip(".") else ""


def is_picture(path: str) -> bool:
    """Whether the name is that of a picture, of one that is read or of one that is not."""
    return (suffix := ending(path)) in IMAGE_SUFFIXES or suffix in UNREAD_PICTURES


def is_known(path: str) -> bool:
    """Whether the ending says what the file is."""
    return is_picture(path) or ending(path) in _DATA


def system_file(path: str) -> str | None:
    """The kind of file that macOS or Windows leaves beside data (``._*``, ``Thumbs.db``), or ``None``."""
    folders, _, base = path.rpartition("/")
    if "__MACOSX" in folders.split("/"):
        return "__MACOSX"
    if base.startswith("._"):
        return "._*"
    return {".ds_store": ".DS_Store", "thumbs.db": "Thumbs.db", "desktop.ini": "desktop.ini"}.get(base.lower())
