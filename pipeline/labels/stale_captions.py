"""Captions that the translation made untrue: "in the day" beside a picture that is a night now."""

from __future__ import annotations

import re
from collections.abc import Mapping

_DAY = ("day", "daytime", "daylight", "sunlight", "sunlit", "sunny", "noon", "midday", "afternoon")
_NIGHT = ("night", "nighttime", "midnight", "moonlight", "moonlit")
_BETWEEN = ("dawn", "dusk", "sunrise", "sunset", "twilight")
_CLEAR = ("sunny", "sunshine", "cloudless", "clear sky", "clear skies", "clear weather")
_CLOUDS = ("overcast", "cloudy")
_FOG = ("fog", "foggy", "mist", "misty")
_RAIN = ("rain", "rainy", "raining")
_SNOW = ("snow", "snowy", "snowing")

_CONTRARY: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "timeofday": {
        "daytime": (*_NIGHT, *_BETWEEN),
        "night": (*_DAY, *_BETWEEN),
        "dawn/dusk": (*_DAY, *_NIGHT),
    },
    "weather": {
        "clear": (*_CLOUDS, *_FOG, *_RAIN, *_SNOW),
        "overcast": _CLEAR,
        "foggy": _CLEAR,
        "rainy": (*_CLEAR, *_SNOW),
        "snowy": (*_CLEAR, *_RAIN),
    },
}
"""Words that a caption cannot have where an attribute, in BDD100K's words, has this value."""

_CAPTION_NAME = re.compile(r"(^|[._-])(captions?|texts?|txt|prompts?|descriptions?|sentences?)($|[._-])", re.I)


def is_caption_name(name: str) -> bool:
    """Whether a member or column of this name is a text for people about the picture."""
    return _CAPTION_NAME.search(name) is not None


def stale_word(text: str, changed: Mapping[str, str], said: Mapping[str, str]) -> tuple[str, str] | None:
    """(attribute, word) of the first word of a caption that is no longer true; ``None`` for a caption that may be true.

    Args:
        text: the caption.
        changed: attributes of the translated picture that the translation sets.
        said: attributes that the source gives the picture. An old value itself is such a word where nothing else is
            known of the attribute.
    """
    for name, value in changed.items():
        if name in _CONTRARY:
            words = _CONTRARY[name].get(value, ())
        else:
            old = said.get(name, value)
            words = (old,) if old not in (value, "true", "false") and old.replace(" ", "").isalpha() else ()
        if words and (found := re.search(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", text, re.I)):
            return name, found[0]
    return None
