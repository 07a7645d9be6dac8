"""Fixtures of the fault tests."""

from tests.support.seaweed import bucket, s3

__all__ = ["bucket", "s3"]
