"""One look at the data before the job begins: which members or columns there are."""

from __future__ import annotations

import tarfile

import pyarrow as pa

from methods.errors import InputError
from pipeline.sources import open_source
from pipeline.sources.layout import Layout, choose
from pipeline.spec import SourceSpec
from pipeline.storage import redact

_TRIES = 5


def resolve_layout(spec: SourceSpec, format: str, shard_size: int) -> Layout:
    """The layout from the first source file that can be read, of the first few.

    Raises InputError when none of them can, or when the spec names what is not there.
    """
    source = open_source(spec, format, shard_size)
    files = source.plan()
    problem = "all of them are empty"
    for file in files[:_TRIES]:
        try:
            seen = source.peek(file)
        except (tarfile.TarError, pa.ArrowException, EOFError) as error:
            problem = str(error).splitlines()[0]
            continue
        if seen.kinds:
            return choose(spec, seen, redact(file.uri))
    raise InputError(
        f"{redact(files[0].uri)}: none of the first {len(files[:_TRIES])} source files can be read ({problem})"
    )
