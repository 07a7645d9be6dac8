"""`sceneshift directions make`."""

from __future__ import annotations

from pathlib import Path

from jobs.console import DONE, Console
from methods.counting import counted
from methods.errors import InputError


def make_direction_command(
    console: Console,
    source: str,
    target: str,
    sentences: list[Path],
    template: bool,
    base: str,
    out: Path | None,
    device: str,
) -> int:
    """Encode the sentences of two concepts and write their mean embeddings as one file.

    Sentences come from ``sentences`` (one file: the target's are the source's with the word replaced; two: source and
    target), from patterns, or from the bundled prompts of those names.
    """
    from methods.pix2pix_zero.prompts import prompts_of, read_prompts, swapped, template_prompts

    if template and sentences:
        raise InputError("set either --sentences or --template")
    if len(sentences) > 2:
        raise InputError(f"--sentences was given {len(sentences)} times, expected one file or two (source, target)")
    out = Path(f"{source}_to_{target}.safetensors") if out is None else out
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist")
    if template:
        lists = template_prompts(source), template_prompts(target)
    elif len(sentences) == 1:
        found = read_prompts(sentences[0])
        lists = found, swapped(found, source, target, str(sentences[0]))
    elif sentences:
        lists = read_prompts(sentences[0]), read_prompts(sentences[1])
    else:
        lists = _bundled(prompts_of(source), source), _bundled(prompts_of(target), target)

    import torch

    from methods import weights
    from methods.nn.model_folder import ModelFolder
    from methods.pix2pix_zero.directions import mean_embedding, save_direction

    if device != "cpu" and not torch.cuda.is_available():
        raise InputError(f"--device {device}: this machine has no CUDA device, use cpu")
    text = ModelFolder(weights.fetch(base)).text(torch.device(device))
    means = [mean_embedding(text, prompts) for prompts in lists]
    about = {
        "source": source,
        "target": target,
        "sentences": [len(prompts) for prompts in lists],
        "text_encoder": weights.redacted(base) if "://" in base else Path(base).name,
    }
    save_direction(out, means[0], means[1], about)
    length = float((means[1] - means[0]).norm())
    console.result({"out": str(out), **about, "length": length, "share_of_source": length / float(means[0].norm())})
    console.say(
        f"Wrote {out}: {source} to {target} from {len(lists[0])} and {counted(len(lists[1]), 'sentence')}, "
        f"{100 * length / float(means[0].norm()):.0f} % of the source's length"
    )
    return DONE


def _bundled(path: Path | None, word: str) -> list[str]:
    from methods.pix2pix_zero.prompts import read_prompts

    if path is None:
        raise InputError(f"'{word}' is no word: set --sentences or --template")
    return read_prompts(path)
