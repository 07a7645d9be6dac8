"""Tars whose headers may lie: nothing is allocated because a header says so, only for bytes that are there."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import Any, cast

from methods.errors import BadSample

LARGEST_MEMBER = 512 << 20
"""Bytes that one member may have. Larger than any picture that is decoded, smaller than a worker's memory."""
_LARGEST_HEADER = 1 << 20
_GZIP = b"\x1f\x8b"


def open_bounded(raw: Any) -> tarfile.TarFile:
    """A tar, or one inside gzip, read from an open file. Raises tarfile.ReadError for anything else."""
    start = raw.read(2)
    raw.seek(0)
    if not start:
        raise tarfile.ReadError("the file is empty")
    file = gzip.GzipFile(fileobj=raw, mode="rb") if start == _GZIP else raw
    return tarfile.open(fileobj=cast("Any", file), mode="r:", tarinfo=_Member)


def content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The bytes of a member.

    Raises:
        BadSample: reason ``too_large``, or ``sparse_member``: a few bytes may claim terabytes of zeros.
        tarfile.ReadError: the archive ends inside the member.
    """
    if member.issparse():
        raise BadSample("sparse_member", f"member '{member.name[:80]}' is sparse; pack it again without --sparse")
    if member.size > LARGEST_MEMBER:
        raise BadSample(
            "too_large", f"member '{member.name[:80]}' has {member.size} bytes, more than {LARGEST_MEMBER >> 20} MiB"
        )
    file = archive.extractfile(member)
    parts, left = io.BytesIO(), member.size
    while file is not None and left > 0 and (part := file.read(min(left, 8 << 20))):
        parts.write(part)
        left -= len(part)
    if left:
        raise tarfile.ReadError(f"member {member.name} has {member.size - left} of {member.size} bytes")
    return parts.getvalue()


class _Member(tarfile.TarInfo):
    """A header whose extended parts (long names, PAX records) are bounded before they are read."""

    def _proc_member(self, tarfile_: tarfile.TarFile) -> Any:
        kind = self.type
        extended = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.size < 0 or (kind in (*extended, tarfile.SOLARIS_XHDTYPE) and self.size > _LARGEST_HEADER):
            raise tarfile.ReadError(f"a header of {self.size} bytes is no header of a tar")
        return super()._proc_member(tarfile_)  # type: ignore[misc]
