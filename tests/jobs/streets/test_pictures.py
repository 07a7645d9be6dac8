"""What the pictures show: the same seed the same picture, night darker than day, and lit at night visible by day."""

import numpy as np
import pytest

from jobs.streets import CONDITIONS, Frame, Scene
from jobs.streets.surfaces import Surface
from jobs.streets.taxonomy import Label
from methods.errors import InputError

SEEDS = (3, 11, 24)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [Frame(Scene(seed), 96, 96) for seed in SEEDS]


def _luminance(picture: np.ndarray) -> np.ndarray:
    return picture.astype(float) @ (0.299, 0.587, 0.114)


def _pixels(frame: Frame, chosen: np.ndarray) -> np.ndarray:
    """Pixels (height, width) all of whose samples are among the chosen points."""
    samples = np.zeros(frame.view.raster.primitive.shape, bool)
    samples[frame.view.pixels] = chosen
    n = frame.supersampling
    return np.asarray(samples.reshape(frame.height, n, frame.width, n).all((1, 3)))


@pytest.mark.parametrize("name", CONDITIONS)
def test_same_seed_same_picture(frames: list[Frame], name: str) -> None:
    again = Frame(Scene(SEEDS[0]), 96, 96).render(name)
    assert again.dtype == np.uint8
    assert again.shape == (96, 96, 3)
    assert (again == frames[0].render(name)).all()


def test_other_seed_other_picture(frames: list[Frame]) -> None:
    first, second = frames[0].render("day"), frames[1].render("day")
    assert np.abs(first.astype(int) - second).mean() > 10


@pytest.mark.parametrize(("width", "height"), [(96, 54), (33, 47), (64, 128)])
def test_any_shape(width: int, height: int) -> None:
    frame = Frame(Scene(5), width, height)
    for name in ("day", "night", "night-rain", "snow"):
        assert frame.render(name).shape == (height, width, 3)


def test_conditions_look_different(frames: list[Frame]) -> None:
    for frame in frames:
        pictures = [frame.render(name).astype(float) for name in CONDITIONS]
        for i, first in enumerate(pictures):
            for second in pictures[i + 1 :]:
                assert np.abs(first - second).mean() > 3


def test_night_is_dark_and_lamps_shine(frames: list[Frame]) -> None:
    darker = []
    for frame in frames:
        day, night = _luminance(frame.render("day")), _luminance(frame.render("night"))
        darker.append(night.mean() / day.mean())
        sky = np.ones((96, 96), bool)
        sky[np.nonzero(frame.view.raster.primitive[::2, ::2] >= 0)] = False
        assert np.median(night[sky]) < 60 < np.median(day[sky])
        lamps = _pixels(frame, frame.view.surface == Surface.LAMP)
        if lamps.any():
            assert night[lamps].mean() > 2 * night.mean()
    assert max(darker) < 0.95
    assert np.mean(darker) < 0.75


def test_lit_windows_show_by_day() -> None:
    """Which windows are lit at night can be seen in the day picture."""
    lit_by_day, dark_by_day = [], []
    for seed in SEEDS:
        frame = Frame(Scene(seed), 128, 128)
        material, facade = frame.view.material, frame.view.surface == Surface.FACADE
        day = frame.render("day").astype(float)
        warm = day[..., 0] + day[..., 1] - day[..., 2]
        lit = _pixels(frame, facade & (material.gloss == np.float32(0.12)))
        dark = _pixels(frame, facade & (material.gloss == 0.5))
        lit_by_day.append(warm[lit])
        dark_by_day.append(warm[dark])
        night = _luminance(frame.render("night"))
        assert night[lit].mean() > 2 * night[dark].mean()
    lit, dark = np.concatenate(lit_by_day), np.concatenate(dark_by_day)
    assert min(len(lit), len(dark)) > 100
    state = np.repeat((1.0, 0.0), (len(lit), len(dark)))
    assert np.corrcoef(state, np.concatenate([lit, dark]))[0, 1] > 0.6


def test_lights_of_traffic_show_by_day() -> None:
    """What glows at night on vehicles and signals is lit by day too, and nothing else is."""
    for seed in SEEDS:
        view = Frame(Scene(seed), 64, 64).view
        lights = np.isin(view.surface, (Surface.CAR_FACE, Surface.SIGNAL, Surface.BULB))
        night, day = view.material.night[lights].max(1), view.material.day[lights].max(1)
        assert ((night > 0) == (day > 0)).all()


def test_fog_hides_what_is_far(frames: list[Frame]) -> None:
    for frame in frames:
        depth = frame.view.raster.depth[::2, ::2]
        far, near = (depth > 70) & (depth < 1e6), depth < 8
        clear, fog = _luminance(frame.render("day")), _luminance(frame.render("fog"))
        assert fog[far].std() < 0.5 * clear[far].std()
        assert fog[near].std() > fog[far].std()


def test_snow_lies_on_the_ground(frames: list[Frame]) -> None:
    for frame in frames:
        lawn_or_walk = np.isin(frame.view.material.label, (Label.SIDEWALK, Label.TERRAIN))
        ground = _pixels(frame, lawn_or_walk & (frame.view.surface == Surface.GROUND))
        if ground.any():
            assert _luminance(frame.render("snow"))[ground].mean() > 150


def test_unknown_condition_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'night'"):
        Frame(Scene(1), 32, 32).render("nigth")
