"""Tones that annotations let one expect, how far pictures are from them, and surfaces that go over."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.train.cyclegan_turbo.label_maps import Annotations, one_hot
from methods.train.cyclegan_turbo.tone import ToneNet, carried, tones_apart


def test_the_expected_tone_is_that_of_the_labels() -> None:
    torch.manual_seed(0)
    net = ToneNet(planes=2, shrink=2, width=8)
    halves = torch.zeros(4, 24, 20, dtype=torch.uint8)
    halves[:2, :, 10:] = halves[2:, 12:] = 1
    labels = one_hot(halves, 2)
    assert net(labels).shape == (4, 3, 12, 10)
    painted = labels[:, :1].expand(-1, 3, -1, -1) - 0.5
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        net.apart(painted, labels).backward()
        optimizer.step()
    assert net.apart(painted, labels) < 0.1 * net.apart(-painted, labels)


def test_detail_counts_where_it_is_asked_for() -> None:
    torch.manual_seed(0)
    net, labels = ToneNet(planes=2, shrink=4, width=8), one_hot(torch.zeros(1, 16, 16, dtype=torch.uint8), 2)
    grey, checks = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    checks[..., ::2] = -1
    torch.testing.assert_close(net.apart(checks, labels), net.apart(grey, labels))
    added = tones_apart(checks, net(labels), 4, 0.5) - tones_apart(grey, net(labels), 4, 0.5)
    assert added.item() == pytest.approx(0.5, rel=0.1)


def test_coarser_tones_leave_blocks_alone() -> None:
    torch.manual_seed(0)
    net, labels = ToneNet(planes=2, shrink=2, width=8), one_hot(torch.zeros(1, 16, 16, dtype=torch.uint8), 2)
    grey, blocks = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    blocks[..., 0::4] = blocks[..., 1::4] = -1
    expected = net(labels)
    torch.testing.assert_close(tones_apart(blocks, expected, 2, coarser=2), tones_apart(grey, expected, 2, coarser=2))
    assert net.apart(blocks, labels) > net.apart(grey, labels) + 0.5


tones = st.floats(-1, 1, width=32)


@given(tones, tones, tones, st.floats(0, 1, width=32))
def test_surfaces_go_over_by_their_ratio(expected: float, source: float, usual: float, share: float) -> None:
    def tone(value: float) -> torch.Tensor:
        return torch.full((1, 3, 2, 2), value)

    def own(source: float, share: float) -> torch.Tensor:
        return carried(tone(expected), tone(source), tone(usual), torch.full((1, 1, 2, 2), share))

    found = own(source, share)
    # a thing like all others, and one whose surface tells nothing, are as expected
    torch.testing.assert_close(own(usual, share), tone(expected), atol=1e-5, rtol=0)
    torch.testing.assert_close(own(source, 0.0), tone(expected), atol=1e-5, rtol=0)
    assert ((found - tone(expected)) * (source - usual) >= -1e-5).all()
    if expected == usual:
        torch.testing.assert_close(own(source, 1.0), tone(source), atol=1e-5, rtol=0)


def test_maps_beside_the_labels_tell_of_tones() -> None:
    # the class is the same everywhere, only the map says where it is light
    torch.manual_seed(0)
    net = ToneNet(planes=2, shrink=2, width=8)
    light = torch.zeros(2, 1, 16, 16)
    light[0, :, 6:] = light[1, :, :, :9] = 1
    known = Annotations(torch.ones(2, 1, 16, 16), light)
    painted = light.expand(-1, 3, -1, -1) - 0.5
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        net.apart(painted, known.planes).backward()
        optimizer.step()
    assert net.apart(painted, known.planes) < 0.1 * net.apart(painted, known.planes.flip(0))
