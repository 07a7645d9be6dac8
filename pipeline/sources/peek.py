"""One look at the data before the job begins: which members or columns there are."""

from __future__ import annotations

from methods.counting import counted
from methods.errors import InputError, first_line
from pipeline.sources import open_source
from pipeline.sources.layout import Layout, choose
from pipeline.spec import SourceSpec
from pipeline.uris import printable, redact

_TRIES = 5


def resolve_layout(spec: SourceSpec, format: str, shard_size: int) -> Layout:
    """The layout from the first source file that can be read, of the first few.

    Raises InputError when none of them can, or when the spec names what is not there.
    """
    source = open_source(spec, format, shard_size)
    files = source.plan()
    if not files:
        raise InputError(
            f"{printable(redact(spec.uris[0]))}: every file was last changed before source.modified_after "
            f"({spec.modified_after}), and the output holds nothing yet; run once without it"
        )
    problem = "all of them are empty"
    for file in files[:_TRIES]:
        try:
            seen = source.peek(file)
        except InputError:
            raise
        except Exception as error:
            # Whatever a parser says about a damaged file; the next one may be whole.
            problem = redact(first_line(error))
            continue
        if seen.kinds:
            return choose(spec, seen, redact(file.uri))
    where = printable(redact(files[0].uri))
    raise InputError(
        f"{where}: none of the first {counted(len(files[:_TRIES]), 'source file')} can be read ({problem})"
    )
