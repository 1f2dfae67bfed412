"""The forward model of :mod:`ptychopinn.physics` in PyTorch: batched, differentiable, any device.

Two choices make it fast without changing the physics:

* Detector arrays are kept in FFT order (zero frequency at [0, 0]) inside the backend, so that no
  pattern is shifted in the inner loop; :func:`to_fft_order` does it once when the data come in.
* Sub-pixel positions shift the probe (see :mod:`ptychopinn.physics.forward` for the reason), so a
  patch is a plain gather from the canvas and its adjoint a scatter-add; the shifted probes are
  computed once per scan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptychopinn.physics.groups import FILL, FLOOR, TAPER_RIM
from ptychopinn.physics.low_frequency import (
    FADE,
    integration_kernels,
    momentum_axis,
    probe_spread,
    transform_shape,
)


def to_fft_order(patterns: Tensor) -> Tensor:
    """Move the zero frequency of (..., N, N) from [N/2, N/2] to [0, 0]."""
    return torch.fft.ifftshift(patterns, dim=(-2, -1))


def from_fft_order(patterns: Tensor) -> Tensor:
    """Inverse of :func:`to_fft_order`."""
    return torch.fft.fftshift(patterns, dim=(-2, -1))


def fft(field: Tensor) -> Tensor:
    """Unitary 2-D DFT of (..., N, N), zero frequency at [0, 0]."""
    return torch.fft.fft2(field, norm="ortho")


def ifft(spectrum: Tensor) -> Tensor:
    """Inverse and adjoint of :func:`fft`."""
    return torch.fft.ifft2(spectrum, norm="ortho")


def fourier_shift(field: Tensor, shift_px: Tensor) -> Tensor:
    """Translate ``field`` (..., N, N) by ``shift_px`` (..., 2) = (dy, dx): out(u) = field(u -
    shift)."""
    device, real = field.device, field.real.dtype
    ky = torch.fft.fftfreq(field.shape[-2], device=device, dtype=real)[:, None]
    kx = torch.fft.fftfreq(field.shape[-1], device=device, dtype=real)[None, :]
    shift = shift_px.to(real)
    along_y = rotation(-2 * torch.pi * ky * shift[..., 0, None, None])
    along_x = rotation(-2 * torch.pi * kx * shift[..., 1, None, None])
    return torch.fft.ifft2(torch.fft.fft2(field) * along_y * along_x)


def rotation(phase: Tensor) -> Tensor:
    """exp(i phase) of a real phase."""
    return torch.polar(torch.ones_like(phase), phase)


def shifted_probes(probe: Tensor, fraction: Tensor) -> Tensor:
    """Probes (..., P, N, N) moved to the sub-pixel remainders ``fraction`` (..., 2)."""
    return fourier_shift(probe, fraction[..., None, :])


def row_index(corner: Tensor, n: int, width: int) -> Tensor:
    """Flat canvas indices (M, N) of the first pixel in each row of the patches whose first pixels
    are ``corner`` (M, 2)."""
    u = torch.arange(n, device=corner.device)
    return (corner[:, 0] * width + corner[:, 1])[:, None] + u * width


def pixels(rows: Tensor) -> Tensor:
    """Flat canvas indices (M * N * N) of all pixels of the patches with these ``rows``."""
    u = torch.arange(rows.shape[1], device=rows.device)
    return (rows[..., None] + u).reshape(-1)


class _Patches(torch.autograd.Function):
    """The patches, copied row by row: one index stands for N neighbouring pixels."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size, n = flat.numel(), rows.shape[1]
        runs = flat.contiguous().as_strided((ctx.size - n + 1, n), (1, 1))
        return runs.index_select(0, rows.reshape(-1)).reshape(-1, n, n)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        total = upstream[0].new_zeros(ctx.size)
        add_patches(total, upstream[0], rows)
        return total, None


def gather(canvas: Tensor, rows: Tensor) -> Tensor:
    """Patches (M, N, N) of a complex ``canvas`` with the given ``rows`` (M, N)."""
    patches: Tensor = _Patches.apply(canvas.reshape(-1), rows)
    return patches


def scatter(patches: Tensor, rows: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sum of the patches (M, N, N) on a canvas of zeros (H, W); the adjoint of :func:`gather`."""
    canvas = torch.zeros(shape[0] * shape[1], dtype=patches.dtype, device=patches.device)
    return canvas.index_add(0, pixels(rows), patches.reshape(-1)).reshape(shape)


def add_patches(total: Tensor, patches: Tensor, rows: Tensor) -> None:
    """Add the patches (M, N, N) to the flat canvas ``total`` (H*W), in place: batch by batch no
    canvas is copied."""
    total.index_add_(0, pixels(rows), patches.reshape(-1))


def far_field(probes: Tensor, patches: Tensor) -> Tensor:
    """Far fields (M, P, N, N) in FFT order of ``probes`` (M, P, N, N) on ``patches`` (M, N, N)."""
    return fft(probes * patches[:, None])


def intensity(fields: Tensor) -> Tensor:
    """Expected intensity (M, N, N) of far fields (M, P, N, N): incoherent modes add as
    intensities."""
    return sum_of_modes(torch.addcmul(fields.real.square(), fields.imag, fields.imag))


def sum_of_modes(values: Tensor) -> Tensor:
    """Sum of (M, P, ...) over the modes P; a single one is not copied."""
    return values[:, 0] if values.shape[1] == 1 else values.sum(dim=1)


class LowFrequency:
    """What :mod:`ptychopinn.physics.low_frequency` needs on a canvas of one shape."""

    def __init__(self, probe: Tensor, shape: tuple[int, int]) -> None:
        device = probe.device
        self.shape, self.larger = shape, transform_shape(shape)

        def spectrum(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(device, probe.dtype)

        self.spread = spectrum(probe_spread(probe.detach().cpu().numpy(), self.larger))
        self.integrate = spectrum(integration_kernels(self.larger))
        k = torch.from_numpy(momentum_axis(probe.shape[-1]))
        self.k = k.to(device, probe.real.dtype)

    def gradients(self, difference: Tensor, modelled: Tensor) -> Tensor:
        """Missing phase gradient (M, 2), given measured minus modelled intensities on good pixels
        and the modelled ones, (M, N, N) in FFT order."""
        along = torch.stack([difference.sum(dim=2) @ self.k, difference.sum(dim=1) @ self.k], dim=1)
        return along / modelled.sum(dim=(1, 2))[:, None]

    def nowhere(self) -> Tensor:
        """Where :meth:`place` adds gradients, (H*W, 3), still empty."""
        return torch.zeros(
            self.shape[0] * self.shape[1], 3, dtype=self.k.dtype, device=self.k.device
        )

    def place(self, placed: Tensor, gradients: Tensor, centre: Tensor) -> None:
        """Add gradients (M, 2) and their number at the flat pixels ``centre`` (M,), in place."""
        values = torch.cat([gradients, torch.ones_like(gradients[:, :1])], dim=1)
        placed.index_add_(0, centre, values)

    def phase(self, placed: Tensor) -> Tensor:
        """The phase (H, W) with the gradients that were placed."""
        planes = placed.T.reshape(3, *self.shape)
        spectrum = torch.fft.rfft2(planes, s=self.larger) * self.spread
        spread = torch.fft.irfft2(spectrum, s=self.larger)
        field = spread[:2] / (spread[2] + FADE * spread[2].max())
        slope = (torch.fft.rfft2(field) * self.integrate).sum(dim=0)
        phase = torch.fft.irfft2(slope, s=self.larger)
        return phase[: self.shape[0], : self.shape[1]]


def split_offsets(offsets_px: Tensor) -> tuple[Tensor, Tensor]:
    """Whole pixels (B, C, 2) int64 and remainders in [-0.5, 0.5) of group offsets (B, C, 2)."""
    whole = torch.floor(offsets_px + 0.5)
    return whole.long(), offsets_px - whole


def taper(n: int, fraction: Tensor) -> Tensor:
    """Hann window on a rim, (..., n, n), moved by ``fraction`` (..., 2)."""
    u = torch.arange(n, device=fraction.device, dtype=fraction.dtype)
    y = torch.sin(torch.pi * (u - fraction[..., 0, None]) / n).square()
    x = torch.sin(torch.pi * (u - fraction[..., 1, None]) / n).square()
    return TAPER_RIM + (1 - TAPER_RIM) * y[..., :, None] * x[..., None, :]


def shift_patches(patches: Tensor, fraction: Tensor) -> Tensor:
    """Move patches (..., N, N), which are not periodic, by ``fraction`` (..., 2) of a pixel."""
    n, shift = patches.shape[-1], fraction.to(patches.real.dtype)
    return fourier_shift(taper(n, torch.zeros_like(shift)) * patches, shift) / taper(n, shift)


def shift_weight(weight: Tensor, fraction: Tensor) -> Tensor:
    """The weight (N, N) moved by ``fraction`` (..., 2) of a pixel, (..., N, N), always positive."""
    shift = fraction.to(weight.dtype)
    floor = FLOOR * weight.max() * taper(weight.shape[-1], shift)
    return fourier_shift(weight, shift).real.clamp(min=0) + floor


def group_rows(whole: Tensor, n: int, reach: int) -> tuple[Tensor, int]:
    """Where the rows of patches begin (B*C, N) in group canvases laid out one after the other, and
    their side L."""
    size = n + 2 * reach
    first = torch.arange(whole.shape[0], device=whole.device)[:, None] * size * size
    corner = (whole + reach).reshape(-1, 2)
    return row_index(corner, n, size) + first.expand(whole.shape[:2]).reshape(-1, 1), size


def merge(patches: Tensor, offsets_px: Tensor, weight: Tensor, reach: int) -> Tensor:
    """Merge patches (B, C, N, N) into group canvases (B, L, L); see ptychopinn.physics.groups."""
    n = patches.shape[-1]
    whole, fraction = split_offsets(offsets_px)
    rows, size = group_rows(whole, n, reach)
    shape = (patches.shape[0], size * size)
    shift = fraction.reshape(-1, 2)
    moved = shift_weight(weight, shift)
    above = scatter(moved * shift_patches(patches.reshape(-1, n, n), shift), rows, shape)
    below = scatter(moved, rows, shape)
    covered = below > 0
    merged = above / torch.where(covered, below, torch.ones_like(below))
    return torch.where(covered, merged, torch.full_like(merged, FILL)).reshape(-1, size, size)


def extract(canvas: Tensor, offsets_px: Tensor, n: int, reach: int) -> Tensor:
    """Cut the patches (B, C, N, N) at the whole-pixel offsets out of group canvases (B, L, L)."""
    whole, _ = split_offsets(offsets_px)
    rows, _ = group_rows(whole, n, reach)
    return gather(canvas, rows).reshape(*offsets_px.shape[:2], n, n)


def common_patches(patches: Tensor, offsets_px: Tensor, weight: Tensor) -> Tensor:
    """Patches (B, C, N, N) after merging each group into one object and cutting them out again."""
    whole, _ = split_offsets(offsets_px)
    reach = int(whole.abs().max())
    return extract(merge(patches, offsets_px, weight, reach), offsets_px, patches.shape[-1], reach)


def group_intensities(patches: Tensor, offsets_px: Tensor, probe: Tensor, weight: Tensor) -> Tensor:
    """Expected intensities (B, C, N, N), FFT order, of merged patches under ``probe`` (P, N, N)."""
    n = patches.shape[-1]
    _, fraction = split_offsets(offsets_px)
    common = common_patches(patches, offsets_px, weight)
    shifted = shifted_probes(probe, fraction.reshape(-1, 2))
    modelled = intensity(far_field(shifted, common.reshape(-1, n, n)))
    return modelled.reshape(patches.shape)
