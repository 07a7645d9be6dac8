"""Where the image preparations were; they are :mod:`methods.nn.image_prep` now."""

from methods.nn.image_prep import prepare_image, to_tensor, window_of

__all__ = ["prepare_image", "to_tensor", "window_of"]
