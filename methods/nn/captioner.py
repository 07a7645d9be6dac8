"""BLIP as a captioner, set as pix2pix-zero's release sets it (section 2.1 of its code: LAVIS ``blip_caption``)."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import weights as store
from methods.counting import counted
from methods.errors import InputError, first_line
from methods.nn.captioner_files import captioner_uris
from methods.nn.clip import MEAN, STD
from methods.nn.tensor_file import read_safetensors
from methods.sharing import loaded_once

_PROMPT = "a picture of"
_BEAM = {"num_beams": 3, "max_length": 30, "min_length": 10, "repetition_penalty": 1.0, "do_sample": False}


class Captioner:
    """A BLIP captioning model, frozen, float32.

    Args:
        uri: hub id, folder or URI; see :func:`methods.nn.captioner_files.captioner_uris`.
        device: where it runs.

    Raises:
        InputError: a file is missing, or not a BLIP captioner's.
    """

    def __init__(self, uri: str, device: torch.device) -> None:
        from tokenizers import Tokenizer
        from transformers import BlipConfig, BlipForConditionalGeneration
        from transformers.utils import logging

        config_file, weights_file, tokenizer_file = (store.fetch(each) for each in captioner_uris(uri))
        talkative = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            tree = json.loads(config_file.read_text())
            if tree.get("model_type") != "blip":
                raise InputError(f"{config_file}: model_type is {tree.get('model_type')!r}, expected 'blip'")
            self.tokenizer = Tokenizer.from_file(str(tokenizer_file))
            loaded: Any = BlipForConditionalGeneration.from_pretrained(
                None, config=BlipConfig(**tree), state_dict=read_safetensors(weights_file)[0], output_loading_info=True
            )
            self.model, report = loaded
        except InputError:
            raise
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise InputError(f"captioner '{uri}': cannot be loaded ({first_line(error)})") from None
        except Exception as error:
            # tokenizers raises bare Exceptions for files that are not its own
            raise InputError(f"{tokenizer_file}: not a tokenizer ({first_line(error)})") from None
        finally:
            if talkative:
                logging.enable_progress_bar()
        lost = sorted(report["missing_keys"])
        if lost:
            raise InputError(f"{weights_file}: '{lost[0]}' missing ({counted(len(lost), 'tensor')} in all)")
        self.model.to(device).eval().requires_grad_(False)  # type: ignore[arg-type]
        self.size = int(self.model.config.vision_config.image_size)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[str]:
        """One caption per image: beam search behind the words "a picture of", which are cut off again.

        Args:
            images: (B, 3, H, W) in [-1, 1].
        """
        pixels = F.interpolate(images.float(), (self.size, self.size), mode="bicubic", antialias=True)
        mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (MEAN, STD))
        pixels = ((pixels.clamp(-1, 1) + 1) / 2 - mean) / std
        prompt = self.tokenizer.encode(_PROMPT).ids
        ids = torch.tensor([prompt] * len(images), device=images.device)
        settings: Any = _BEAM
        written = self.model.generate(pixel_values=pixels, input_ids=ids, **settings)
        # the start token stands in for the prompt's first, and its end token is left out
        return [self.tokenizer.decode(row[len(prompt) - 1 :].tolist()).strip() for row in written]


def load_captioner(uri: str, device: torch.device) -> Captioner:
    """A captioner, once for all methods beside each other. Raises as :class:`Captioner`."""
    return loaded_once((Captioner, uri, device), lambda: Captioner(uri, device))
