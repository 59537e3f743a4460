"""What a GPU projects in one pass is the projection in float64, by Triton's interpreter here."""

import numpy as np
import pytest
import torch
from test_correlation import brute_force, run

from rosetta_steps.correlation import products
from rosetta_steps.correlation.projection import Memory, Projection

fused = pytest.importorskip("rosetta_steps.correlation.fused", reason="needs Triton")
SIZES = [
    ((8, 8), [(7, 7), (8, 8)]),
    ((16, 16), [(7, 7), (4, 4), (16, 16)]),
    ((40, 20), [(7, 7), (14, 14), (3, 20), (28, 16), (40, 5)]),
    ((130, 70), [(64, 64)]),  # weights that are no float16
    ((256, 256), [(56, 56), (28, 28), (7, 7)]),
    ((256, 256), [(112, 112)]),
]


def error_of(size, meetings, device, scale=1.0):
    """Of the projection of float16 maps far from zero, beside float64, as a share of their size."""
    torch.manual_seed(0)
    maps = ((3 * torch.randn(3, 6, *size) + 5) * scale).half().to(device)[:, 1:5]
    offset = 5 * scale * torch.rand(4, device=device)
    into = {m: torch.full((4, 3 * m[0] * m[1]), torch.nan, device=device) for m in meetings}
    fused.FusedProjection(size, meetings, torch.device(device))(maps, offset, into)
    centred = maps.double().transpose(0, 1) - offset.double()[:, None, None, None]
    whole = maps.double().abs().transpose(0, 1) + offset.double()[:, None, None, None]
    exact, most = (
        Projection(size, meetings, Memory(device, torch.float64))(m.contiguous())
        for m in (centred, whole)
    )
    return max(float((into[m] - exact[m]).norm() / most[m].norm()) for m in meetings)


@pytest.mark.parametrize(("size", "meetings"), SIZES)
def test_stored_maps_are_projected_as_in_float64(size, meetings):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert error_of(size, meetings, device) < 5e-7


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**11])
def test_maps_at_the_ends_of_float16_are_projected_as_well(scale):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert error_of((64, 64), [(7, 7), (14, 14)], device, scale) < 5e-7


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-5), ("bfloat16", 5e-3)])
@pytest.mark.parametrize("holds_larger", [False, True])
def test_correlations_of_stored_maps_keep_their_error(
    two_stores, tmp_path, monkeypatch, precision, error, holds_larger
):
    monkeypatch.setattr(products, "TENSOR_CORES", ("cpu", "cuda"))  # as if it had some
    first = products.holds_first
    monkeypatch.setattr(products, "holds_first", lambda a, b, _: first(a, b, holds_larger))
    a, b, maps_a, maps_b = two_stores
    settings = {"precision": precision, "images_per_block": 3, "workers": 1}
    table = run(a, b, tmp_path / "out.zarr", **settings)
    np.testing.assert_allclose(table["correlation"], brute_force(maps_a, maps_b), atol=error)


def test_where_a_device_projects_wrongly_maps_are_widened_first(
    two_stores, tmp_path, monkeypatch, capfd
):
    right = fused.FusedProjection._launch

    def wrong_at_one_size(self, maps, offset, into):
        right(self, maps, offset, into)
        if self.size == (12, 30):
            into[12, 9] *= 1 + 1e-3

    products.say_once.cache_clear()
    monkeypatch.setattr(products, "TENSOR_CORES", ("cpu", "cuda"))
    monkeypatch.setattr(fused.FusedProjection, "_launch", wrong_at_one_size)
    a, b, maps_a, maps_b = two_stores
    table = run(a, b, tmp_path / "out.zarr", workers=1, images_per_strip=5)
    said = capfd.readouterr().err
    assert said.count("maps of 12 x 30 projected to 12 x 9 differ on this device") == 1
    assert "maps of 20 x 9" not in said
    np.testing.assert_allclose(table["correlation"], brute_force(maps_a, maps_b), atol=1e-5)


def test_where_no_kernel_can_be_built_maps_are_widened_first(
    two_stores, tmp_path, monkeypatch, capfd
):
    def fails(*_):
        raise FileNotFoundError("gcc")

    products.say_once.cache_clear()
    monkeypatch.setattr(products, "TENSOR_CORES", ("cpu", "cuda"))
    monkeypatch.setattr(fused.FusedProjection, "_launch", fails)
    a, b, maps_a, maps_b = two_stores
    table = run(a, b, tmp_path / "out.zarr", workers=1)
    assert capfd.readouterr().err.count("Triton builds no kernel here (gcc)") == 1
    np.testing.assert_allclose(table["correlation"], brute_force(maps_a, maps_b), atol=1e-5)
