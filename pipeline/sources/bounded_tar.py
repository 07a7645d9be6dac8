"""Tars whose headers may lie: nothing is allocated because a header says so, only for bytes that are there.

Nor is a tar over because one header says so: it is read to the end of its file. What follows an end mark, or a header
that is none, is not passed over in silence, as ``tarfile`` does.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from tarfile import BLOCKSIZE, EOFHeaderError, InvalidHeaderError, ReadError  # type: ignore[attr-defined]
from typing import Any, cast

from methods.errors import BadSample

LARGEST_MEMBER = 512 << 20
"""Bytes that one member may have. Larger than any picture that is decoded, smaller than a worker's memory."""
_LARGEST_HEADER = 1 << 20
_LARGEST_PADDING = 1 << 20
"""Bytes of zeros at the end of a tar: its end mark, filled up to a record, which has 10 KiB unless it is for a tape."""
_GZIP = b"\x1f\x8b"
_OTHERS = re.compile(
    rb"(?P<zip>PK\x03\x04)|(?P<rar>Rar!\x1a\x07)|(?P<bz2>BZh\d1AY&SY)|(?P<xz>\xfd7zXZ\x00)|(?P<zstd>\x28\xb5\x2f\xfd)"
)
"""How files begin that are no tars, whatever they are called; no name of a member has such characters."""


class BoundedTar(tarfile.TarFile):
    """A tar that is read to the end of its file.

    ``next`` raises tarfile.ReadError at a header that is none, and where more zeros follow than an end mark with its
    padding has; it goes on behind an end mark where another member follows. Made by :func:`open_bounded`.

    Attributes:
        zeros: blocks of zeros read since the last member: the end mark, once there are no more members.
        gaps: places with blocks of zeros that another member followed.
    """

    zeros = 0
    gaps = 0


def open_bounded(raw: Any) -> BoundedTar:
    """A tar, or one inside gzip, read from an open file. Raises tarfile.ReadError for anything else."""
    start = raw.read(10)
    raw.seek(0)
    if not start:
        raise tarfile.ReadError("the file is empty")
    if other := _OTHERS.match(start):
        raise tarfile.ReadError(f"it holds {other.lastgroup} data, which is not read; unpack it, or pack it as a tar")
    file = gzip.GzipFile(fileobj=raw, mode="rb") if start.startswith(_GZIP) else raw
    opened = BoundedTar.open(fileobj=cast("Any", file), mode="r:", tarinfo=_Member, ignore_zeros=True)
    return cast("BoundedTar", opened)


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

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Any:
        """As of TarInfo, for a BoundedTar."""
        archive: BoundedTar = tarfile
        try:
            found = super().fromtarfile(archive)
        except EOFHeaderError:
            archive.zeros += 1
            if archive.zeros * BLOCKSIZE > _LARGEST_PADDING:
                size = f"over {_LARGEST_PADDING >> 20} MiB of zeros"
                raise ReadError(
                    f"{size} where a member or the end of the file should be: was it copied whole?"
                ) from None
            raise
        except InvalidHeaderError as error:
            raise ReadError(f"{error}: no header of a member") from None
        archive.gaps += archive.zeros > 0
        archive.zeros = 0
        return found

    def _proc_member(self, tarfile_: tarfile.TarFile) -> Any:
        kind = self.type
        extended = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.size < 0 or (kind in (*extended, tarfile.SOLARIS_XHDTYPE) and self.size > _LARGEST_HEADER):
            raise tarfile.ReadError(f"a header of {self.size} bytes is no header of a tar")
        return super()._proc_member(tarfile_)  # type: ignore[misc]
