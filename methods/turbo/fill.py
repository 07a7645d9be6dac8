"""Where filling networks was; it is in :mod:`methods.nn.tensor_file` now."""

from methods.nn.tensor_file import below, fill

__all__ = ["below", "fill"]
