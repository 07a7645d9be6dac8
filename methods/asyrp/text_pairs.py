"""The release's named pairs of texts (``SRC_TRG_TXT_DIC``): what pictures show, and what edited ones show. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from methods.plugins import nearest


def _of(source: str, prefix: str = "", **targets: str) -> dict[str, tuple[str, str]]:
    return {prefix + name: (source, target) for name, target in targets.items()}


_DOG = "A painting of a {} in the style of {}"

PAIRS: Mapping[str, tuple[str, str]] = {
    **{
        name: ("face", f"{name} face")
        for name in ("tanned", "pale", "angry", "surprised", "sad", "disgusted", "smiling")
    },
    **_of(
        "person",
        makeup="person with makeup",
        no_makeup="person without makeup",
        old="old person",
        young="young person",
        beards="person with beards",
        blond_hair="person with blond hair",
        red_hair="person with red hair",
        grey_hair="person with grey hair",
        curly_hair="person with curly hair",
        long_hair="person with long hair",
        bald="person with bald head",
    ),
    **_of("a person", man="a man", woman="a woman"),
    **_of("Person", nicolas="Nicolas Cage", zuckerberg="Mark Zuckerberg", benedict="Benedict Cumberbatch"),
    **_of(
        "photo",
        gogh="painting by Gogh",
        frida="self-portrait by Frida Kahlo",
        modigliani="Painting in Modigliani style",
        sketch="sketch",
        watercolor="Watercolor Art with Thick Brushstrokes",
    ),
    **_of(
        "Human",
        elf="Tolkien elf",
        super_saiyan="Super saiyan",
        pixar="3D render in the style of Pixar",
        neanderthal="Neanderthal",
        zombie="Zombie",
        jocker="The Jocker",
    ),
    **_of(
        "Dog",
        "dog_",
        nicolas="Nicolas Cage",
        yorkshire="Yorkshire Terrier",
        smiling="Smiling Dog",
        zombie="Zombie",
        zombie_dog="Zombie Dog",
        super_saiyan="Super saiyan",
        super_saiyan_dog="Super saiyan dog",
        starry_night=_DOG.format("dog", "The Starry night"),
        pixar="Dog in the style of Pixar 3D animation",
        cubism=_DOG.format("Dog", "Cubism"),
        puppy="Puppy",
        fat="Fat Dog",
        venom="Venom",
        bear="Bear",
        fox="Fox",
        wolf="Wolf",
        hamster="Hamster",
        tongue="Dog Tongue",
        happy="Happy Dog",
        sad="Sad Dog",
        sleepy="Sleepy Dog",
        angry="Angry Dog",
        sunglasses="Dog Sunglasses",
        baby="Baby Dog",
        golden_retriever="golden retriever",
        cat="Dog having fur of Cat",
        cat2="Cat with shape of Dog",
        cat3="Cat",
    ),
    **_of(
        "Church",
        "church_",
        snow="snowy day",
        snowy_church="snowy church",
        night="at night",
        red_brick="Red brick wall Church",
        golden="Golden Church",
        wooden_house="Wooden House",
        wooden_church="Wooden Church",
        gothic="Gothic Church",
        ancient_tower="Ancient traditional Asian tower",
        temple="Temple",
    ),
    **_of("church", "church_", factory="factory with chimneys", department_store="department store"),
    **_of(
        "Bedroom",
        "bedroom_",
        blue="Blue tone Bedroom",
        green="Green tone Bedroom",
        golden="Golden Bedroom",
        princess="Princess Bedroom",
        palace="Palace Bedroom",
        wooden="Wooden Bedroom",
        window="Bedroom with window",
        miniature="Bedroom miniature",
        hotel="Hotel Bedroom",
        hospital="Hospital ward",
        karaoke="karaoke room",
    ),
    **{
        f"metface_{look.lower()}": ("painting of a person", f"painting of a {look} person")
        for look in ("Smiling", "Angry", "Surprised", "Sad", "Disgusted")
    },
    **_of("An Orange", "orange2", tennis="Tennis ball"),
    **{
        f"orange2{thing.replace(' ', '_')}": ("a photo of an orange", f"a photo of {article} {thing}")
        for article, things in (
            ("an", ("apple",)),
            (
                "a",
                (
                    "hamster",
                    "basketball",
                    "paprika",
                    "lemon",
                    "strawberry",
                    "pineapple",
                    "ping pong ball",
                    "mushroom",
                ),
            ),
        )
        for thing in things
    },
    "acoustic_guitar2electric_guitar": ("a photo of an acoustic guitar", "a photo of an electric guitar"),
    "coral_fungus2mushroom": ("a photo of a coral fungus", "a photo of a mushroom"),
    "tailed_frog2green_frog": ("a photo of a tailed frog", "a photo of a green frog"),
    "Persian_cat2Persian_cat_closed_eyes": ("a photo of a Persian cat", "a photo of a Persian cat with closed eyes"),
}
"""Without the release's ``test``, whose texts are equal, and ``short_hair``, whose target names long hair."""


def _known(name: str) -> str:
    if name not in PAIRS:
        raise ValueError(f"no pair of texts '{name}': {nearest(name, list(PAIRS))}; or set source_text and target_text")
    return name


TextPair = Annotated[str, AfterValidator(_known)]
"""The name of a pair."""


def chosen_texts(pair: str | None, source: str | None, target: str | None) -> tuple[str, str] | None:
    """(source text, target text) by name, or as given; ``None`` where they are not.

    Raises:
        ValueError: both ways at once, or half of a pair.
    """
    if pair is not None:
        if source is not None or target is not None:
            raise ValueError("set either texts, or source_text and target_text")
        return PAIRS[pair]
    if source is None or target is None:
        if source is not None or target is not None:
            raise ValueError(f"{'target_text' if target is None else 'source_text'} is missing: set both texts or none")
        return None
    return source, target
