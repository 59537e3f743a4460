"""The kernel that projects stored maps on a GPU, by Triton's interpreter where there is none."""

import torch

from rosetta_steps.correlation.projection import Memory, Projection

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = [
    ((8, 8), [(7, 7), (8, 8)]),
    ((16, 16), [(7, 7), (4, 4), (16, 16)]),
    ((1, 40), [(1, 7)]),
    ((40, 20), [(7, 7), (14, 14), (3, 20), (28, 16), (40, 5)]),
    ((130, 70), [(100, 60), (64, 64), (14, 14), (7, 7)]),  # weights that are no float16
    ((256, 256), [(56, 56), (28, 28), (7, 7)]),
    ((256, 256), [(112, 112)]),
]


def projection(size, meetings):
    """The kernel for maps of a size."""
    from rosetta_steps.correlation.fused import FusedProjection

    return FusedProjection(size, tuple(meetings), torch.device(DEVICE))


def error_of(size, meetings, scale=1.0):
    """Of projected float16 maps far from zero, beside float64, as a share of what is summed."""
    torch.manual_seed(0)
    maps = ((3 * torch.randn(3, 6, *size) + 5) * scale).half().to(DEVICE)[:, 1:5]
    offset = 5 * scale * torch.rand(4, device=DEVICE)
    into = {m: torch.full((4, 3 * m[0] * m[1]), torch.nan, device=DEVICE) for m in meetings}
    projection(size, meetings)(maps, offset, into)
    wide, constant = maps.double().transpose(0, 1), offset.double()[:, None, None, None]
    exact, most = (
        Projection(size, meetings, Memory(DEVICE, torch.float64))(values.contiguous())
        for values in (wide - constant, wide.abs() + constant)
    )
    return max(float((into[m] - exact[m]).norm() / most[m].norm()) for m in meetings)
