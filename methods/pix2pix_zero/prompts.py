"""Prompts of a concept, of which its mean embedding is made. No torch."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from methods.errors import InputError

SENTENCES = Path(__file__).parent / "sentences"

_LOOKS = ("small", "large", "young", "old", "bright", "dark", "beautiful", "plain", "dirty", "clean")
_FORMS = ("a photo of a {}", "a close-up of a {}", "a picture of one {}", "a {}", "the {}", "a painting of a {}")
_PLACES = ("", " in the street", " in a room", " on a field", " near the water", " in the morning", " seen from afar")


def bundled_prompts() -> list[str]:
    """Names of the lists of prompts in this package."""
    return sorted(path.stem for path in SENTENCES.glob("*.txt"))


def prompts_of(name: str) -> Path | None:
    """The bundled prompts of that name, or ``None`` for what is a path or a URI."""
    if not re.fullmatch(r"[a-z_]+", name):
        return None
    if name not in bundled_prompts():
        raise InputError(
            f"no sentences for '{name}' are bundled, there are: {', '.join(bundled_prompts())}; "
            "name a .txt file of sentences, or a .pt or .safetensors file of embeddings"
        )
    return SENTENCES / f"{name}.txt"


def read_prompts(path: Path) -> list[str]:
    """One sentence per line, blank lines left out. Raises InputError: unreadable, or no sentence in it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({type(error).__name__})") from None
    sentences = [line.strip() for line in lines if line.strip()]
    if not sentences:
        raise InputError(f"{path}: found no sentence, expected one per line")
    return sentences


def template_prompts(word: str) -> list[str]:
    """Sentences about a thing from patterns: all look alike but for the word. Good for things, poor for weather."""
    return [form.format(f"{look} {word}") + place for form, look, place in itertools.product(_FORMS, _LOOKS, _PLACES)]


def swapped(sentences: list[str], source: str, target: str, where: str) -> list[str]:
    """The same sentences about ``target``: the word is replaced, singular and plural.

    Raises:
        InputError: a sentence without the word; its number is named.
    """
    pattern = re.compile(rf"\b{re.escape(source)}(s?)\b", re.IGNORECASE)
    found = []
    for number, sentence in enumerate(sentences, start=1):
        changed, count = pattern.subn(lambda match: target + match[1], sentence)
        if not count:
            raise InputError(
                f"{where}: sentence {number} has no '{source}' to replace; give the sentences of '{target}' as a "
                "second --sentences file"
            )
        found.append(changed)
    return found
