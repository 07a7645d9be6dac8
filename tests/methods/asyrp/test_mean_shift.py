"""Shifts averaged over pictures and applied to others: against the recorded edits, and the formula in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from methods.asyrp import mean_shift
from methods.asyrp.mean_shift import mean_shifts
from methods.asyrp.process import generate, invert, reverse_plan, sequence
from methods.asyrp.recorded_shift import save_shifts
from methods.base import Batch
from methods.errors import InputError
from tests.support.datasets import picture


def attribute(path: Path, shifts: dict[Any, Any]) -> list[dict[str, Any]]:
    torch.save(shifts, path)
    return [{"block": str(path)}]


def test_the_mean_of_one_picture_gives_its_recorded_edit(case, load, tmp_path: Path) -> None:
    """The official program's run, with the block's own shifts read back from a file in the release's format."""
    for name in ("ddpm_edit6", "iddpm_edit6"):
        golden, method = case(name), load(name)
        pictures = golden.inputs["x0"]
        for number in range(len(pictures)):
            one = pictures[number : number + 1]
            file = save_shifts(tmp_path / f"{name}{number}.pth", mean_shifts(method, [one]))
            recorded = load(name, attributes=[{"block": str(file)}])
            draws = {s: v[number : number + 1] for s, v in golden.inputs.items() if s.startswith("noise_")}
            found = recorded.translate(Batch(one, seeds=[0], draws=draws))
            wanted = golden.expected["x_edit"][number : number + 1].clamp(-1, 1)
            assert float((found - wanted).norm() / wanted.norm()) < golden.about["tolerance"]["relative_l2"]


def test_means_over_pictures_and_over_timesteps(case, load, tmp_path: Path) -> None:
    method, pictures = load("iddpm_edit6"), case("iddpm_edit6").inputs["x0"]
    assert len(pictures) == 2
    both = mean_shifts(method, [pictures])
    assert sorted(both) == [599, 799, 999]
    apart = [mean_shifts(method, [pictures[n : n + 1]]) for n in range(2)]
    for timestep, mean in both.items():
        wanted = (apart[0][timestep].double() + apart[1][timestep].double()) / 2
        torch.testing.assert_close(mean.double(), wanted, rtol=1e-4, atol=1e-5)
    file = save_shifts(tmp_path / "mean.pth", both)
    content = torch.load(file, weights_only=True)
    torch.testing.assert_close(content[0].double(), sum(s.double() for s in both.values()) / 3)

    features, embedding = torch.randn(2, *both[999].shape[1:]), torch.randn(2, 4)
    for options, wanted in (({}, content[799]), ({"ignore_timesteps": True}, content[0])):
        shift = load("iddpm_edit6", attributes=[{"block": str(file), "strength": -2.0}], origin=0.9, **options).shift
        # 1.2 is the strength of this case
        expected = 0.9 * features.double() - 2.4 * wanted.double()
        for timestep in (799, 850, 700):
            torch.testing.assert_close(shift(features, embedding, timestep).double(), expected, rtol=1e-5, atol=1e-5)
    plan = reverse_plan(method.alphas, sequence(6, 999), 400, 0)
    latent = invert(method.unet, pictures, method.alphas, sequence(6, 999))
    edits = [generate(method.unet, latent, plan, one, torch.empty) for one in (None, shift)]
    assert (edits[0] - edits[1]).abs().max() > 0.01


def test_from_the_command_line(golden: Path, load, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        Image.fromarray(picture(number)).save(tmp_path / "in" / f"{number}.png")
    folder = golden / "ddpm_edit6"
    options = ["--unet", folder / "unet_official_layout.safetensors", "--block", folder / "delta.pth", "--t-edit", 700]
    options += ["--steps", 4, "--steps-train", 4, "--image-size", 64, "--norm-num-groups", 8]
    arguments = [str(option) for option in [*options, "--pictures", tmp_path / "in", "--out", tmp_path / "mean.pth"]]
    mean_shift.main(arguments)
    assert capsys.readouterr().out.strip() == str(tmp_path / "mean.pth")
    assert sorted(torch.load(tmp_path / "mean.pth", weights_only=True)) == [0, 999]
    load("ddpm_edit6", attributes=[{"block": str(tmp_path / "mean.pth")}])
    with pytest.raises(SystemExit, match=r"params\.t_edit: Input should be less than"):
        mean_shift.main([*arguments, "--t-edit", "1200"])
    with pytest.raises(SystemExit, match="no such folder of pictures"):
        mean_shift.main([*arguments, "--pictures", str(tmp_path / "none")])


def test_files_that_do_not_fit(load, tmp_path: Path) -> None:
    shift = torch.zeros(1, 32, 32, 32)
    cases = [
        ({999: shift[:, :8]}, {}, r"the shift of timestep 999 is \(1, 8, 32, 32\), expected \(32, 32, 32\)"),
        ({0: shift, 999: None}, {}, "holds one shift for all timesteps: set method.params.ignore_timesteps"),
        ({"999": shift[0]}, {"ignore_timesteps": True}, "holds no shift '0' for all timesteps"),
    ]
    for content, options, message in cases:
        with pytest.raises(InputError, match=message) as error:
            load("ddpm_edit6", attributes=attribute(tmp_path / "shifts.pth", content), **options)
        assert "\n" not in str(error.value)
    indexed = [{**attribute(tmp_path / "shifts.pth", {999: shift})[0], "index": 1}]
    with pytest.raises(InputError, match="leave index out, found 1"):
        load("ddpm_edit6", attributes=indexed)
    mean = load("ddpm_edit6", attributes=attribute(tmp_path / "shifts.pth", {"999": shift[0], "optimizer": {}}))
    with pytest.raises(InputError, match="a mean shift is that of one DeltaBlock"):
        mean_shifts(mean, [torch.from_numpy(np.zeros((1, 3, 64, 64), np.float32))])
