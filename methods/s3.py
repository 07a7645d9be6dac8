"""The S3 client: s3fs, with one rule of how often and how long something is tried.

botocore tries a request again; s3fs tries what botocore gave up on again, and when it reads an object tries that again.
Left as they are, an object that does not come is asked for 125 times, and a server that falls silent holds a run for
hours. Here botocore alone repeats a request, and s3fs only repeats the reading of an answer that broke off.
"""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ConnectionError as NotConnected
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from fsspec.asyn import sync_wrapper
from s3fs import core

from methods.errors import Unanswered
from methods.uris import StorageOptions

ATTEMPTS = 5
"""Most attempts at one request; aiohttp begins each once more where the connection is cut before there is an answer."""

READS = 3
"""Most answers to one reading of an object, each of which began well."""

SILENCE = 20.0
"""Seconds without a byte after which an attempt has failed: with the pauses between them, all take less than 120."""

AWAY = 60.0
"""Seconds for which a server that let all attempts at a request pass in silence is not asked again."""


class Client(core.S3FileSystem):
    """s3fs that gives up after ``ATTEMPTS``, and reads an object of no great size by one request, not by two."""

    retries = READS
    _away: tuple[float, str] | None = None

    async def _call_s3(self, method: str, *akwarglist: Any, **kwargs: Any) -> Any:
        # A run has many requests to make before it can end: waiting for each in turn would take hours.
        if self._away is not None and time.monotonic() < self._away[0]:
            raise Unanswered(self._away[1])
        await self.set_session()
        call = getattr(await self.get_s3(kwargs.get("Bucket")), method)
        arguments = self._get_s3_method_kwargs(call, *akwarglist, **kwargs)
        try:
            answer = await core._error_wrapper(call, kwargs=arguments, retries=1)
        except (*core.S3_RETRYABLE_ERRORS, NotConnected) as error:
            if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)):
                self._away = time.monotonic() + AWAY, str(error)
            # Under its own name s3fs would take it for an answer that broke off.
            raise Unanswered(str(error)) from error
        self._away = None
        return answer

    # s3fs binds its own to this name.
    call_s3 = sync_wrapper(_call_s3)

    async def _cat_file(self, path: str, *args: Any, max_concurrency: int | None = None, **kwargs: Any) -> bytes:
        # With more than one request at a time s3fs asks for the size of the object first.
        return await super()._cat_file(path, *args, max_concurrency=max_concurrency or 1, **kwargs)


def connect(options: StorageOptions) -> Client:
    """A client of its own. Raises InputError where an environment variable that the options name is not set."""
    config = {
        "connect_timeout": 10,
        "read_timeout": SILENCE,
        "retries": {"total_max_attempts": ATTEMPTS},
        # Sources ask for many objects at a time; the client's own bound is 10.
        "max_pool_connections": 64,
    }
    return Client(
        default_cache_type="readahead",
        config_kwargs=config,
        use_listings_cache=False,
        skip_instance_cache=True,
        **options.arguments("s3"),
    )
