"""Products of gradients of linear layers and convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv1d_weight, conv2d_weight

from frbench.gradients.layer import Layer

#: What adding one number of a shifted matrix costs, in multiply-adds of a matrix product.
SHIFT = 10


class Dense(Layer):
    """Linear, Conv1d or Conv2d."""

    @staticmethod
    def supports(module: Any) -> bool:
        """Whether padding, if any, is a number of zeros."""
        return isinstance(module, nn.Linear) or (
            module.padding_mode == "zeros" and not isinstance(module.padding, str)
        )

    @property
    def _conv(self) -> dict[str, Any]:
        m = self.module
        return {"stride": m.stride, "padding": m.padding, "dilation": m.dilation}

    @property
    def _groups(self) -> int:
        return getattr(self.module, "groups", 1)

    def _sizes(self) -> tuple[int, int, int]:
        """Return places L, inputs q and outputs p of each place (of one group)."""
        weight = self.module.weight
        p = len(weight)
        return self.d.numel() // (len(self.d) * p), weight.numel() // p, p

    # ---- places -----------------------------------------------------------------------------
    def _images(self) -> tuple[Tensor, Tensor]:
        """Return a convolution's input and cotangent as images [B, C, H, W]."""
        if isinstance(self.module, nn.Conv1d):
            return self.a.unsqueeze(2), self.d.unsqueeze(2)
        return self.a, self.d

    def _axes(self) -> list[tuple[int, int, int, int]]:
        """Return kernel size, stride, padding and dilation of a convolution, by axis of images."""
        m = self.module
        axes = list(zip(m.kernel_size, m.stride, m.padding, m.dilation, strict=True))
        return axes if len(axes) == 2 else [(1, 1, 0, 1), *axes]

    def _patches(self) -> Tensor:
        """Return what the kernel sees at each place, a view [B, C, kernel H, kernel W, H, W]."""
        a, d = self._images()
        (ky, sy, py, ry), (kx, sx, px, rx) = self._axes()
        a = F.pad(a, (px, px, py, py)) if px or py else a
        n, c, y, x = a.stride()
        return a.as_strided(
            (*a.shape[:2], ky, kx, *d.shape[2:]), (n, c, ry * y, rx * x, sy * y, sx * x)
        )

    def _columns(self) -> tuple[Tensor, Tensor]:
        """Return inputs [L, B, q] and cotangents [L, B, p] of every place."""
        m, n = self.module, len(self.d)
        if isinstance(m, nn.Linear):
            sides = self.a.reshape(n, -1, m.in_features), self.d.reshape(n, -1, m.out_features)
            return sides[0].transpose(0, 1), sides[1].transpose(0, 1)
        places, q, _ = self._sizes()
        u = self._patches().permute(4, 5, 0, 1, 2, 3).reshape(places, n, q)
        return u, self.d.flatten(2).permute(2, 0, 1)

    # ---- one vector -------------------------------------------------------------------------
    def weighted(self, coef: Tensor) -> dict[str, Tensor]:
        """Sum over samples and places."""
        m, a, d, grads = self.module, self.a, self.d, {}
        weight, bias = self.trains
        if isinstance(m, nn.Linear) and d.ndim == 2:
            if weight:  # the narrower side takes the coefficients
                p, q = m.out_features, m.in_features
                grads["weight"] = d.T @ (a * coef[:, None]) if q < p else (d * coef[:, None]).T @ a
            if bias:
                grads["bias"] = coef @ d
            return grads
        d = d * coef.view(-1, *[1] * (d.ndim - 1))
        if isinstance(m, nn.Linear):
            flat = d.reshape(-1, m.out_features)
            if weight:
                grads["weight"] = flat.T @ a.reshape(-1, m.in_features)
            if bias:
                grads["bias"] = flat.sum(0)
            return grads
        if weight:
            gradient: Callable[..., Tensor] = (
                conv1d_weight if isinstance(m, nn.Conv1d) else conv2d_weight
            )
            grads["weight"] = gradient(
                self.a, m.weight.shape, d, **self._conv, groups=self._groups
            )
        if bias:
            grads["bias"] = d.flatten(2).sum((0, 2))
        return grads

    def along(self, vector: dict[str, Tensor]) -> Tensor:
        """Apply the layer with other parameters."""
        m, bias = self.module, vector.get("bias")
        if "weight" in vector:
            if isinstance(m, nn.Linear):
                out = F.linear(self.a, vector["weight"], bias)
            else:
                conv = F.conv1d if isinstance(m, nn.Conv1d) else F.conv2d
                out = conv(self.a, vector["weight"], bias, **self._conv, groups=self._groups)
            return out.mul_(self.d).flatten(1).sum(1)
        assert bias is not None  # a layer without trained parameters is not recorded
        return self._per_sample_bias() @ bias

    def pairwise_is_cheaper(self, rows: int) -> bool:
        """Compare multiply-adds."""
        pair, gradient, _ = self._costs()
        n = len(self.d)
        return n * rows * pair < (n + rows) * gradient

    def toward(self, rows: Tensor, coef: Tensor) -> Tensor:
        """Pair without the matrices of the general case, where there is one place."""
        if not isinstance(self.module, nn.Linear) or self.d.ndim > 2:
            return super().toward(rows, coef)
        weight, bias = self.trains
        # The few rows in front: a matrix product with few columns is slower.
        products = (self.d.index_select(0, rows) * coef[:, None]) @ self.d.T
        if weight:
            inputs = self.a.index_select(0, rows) @ self.a.T
            if bias:
                return products.addcmul_(products, inputs).sum(0)
            products *= inputs
        return products.sum(0)

    # ---- gradients --------------------------------------------------------------------------
    def _per_sample_bias(self) -> Tensor:
        if isinstance(self.module, nn.Linear):
            return self.d.reshape(len(self.d), -1, self.module.out_features).sum(1)
        return self.d.flatten(2).sum(2)

    def _per_sample(self) -> Tensor:
        """Instantiate the gradients [B, P]."""
        weight, bias = self.trains
        n, (places, q, p) = len(self.d), self._sizes()
        parts = []
        if weight and isinstance(self.module, nn.Linear):
            u, d = (side.transpose(0, 1) for side in self._columns())
            parts.append(torch.bmm(d.transpose(1, 2), u).flatten(1))
        elif weight:
            groups = self._groups
            u = self._patches().reshape(n * groups, q, places)
            d = self.d.reshape(n * groups, p // groups, places)
            # In three dimensions: matmul of four copies, at twice the time.
            parts.append(torch.bmm(d, u.transpose(1, 2)).view(n, -1))
        if bias:
            parts.append(self._per_sample_bias())
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def square_norms(self) -> Tensor:
        """Pair each sample with itself."""
        places, q, p = self._sizes()
        if self._groups > 1 or places * (p + q) > p * q:
            return self._per_sample().square().sum(1)
        weight, bias = self.trains
        u, d = (side.transpose(0, 1) for side in self._columns())
        inputs = u @ u.transpose(1, 2) if weight else u.new_zeros(())
        products = (inputs + 1 if bias else inputs) * (d @ d.transpose(1, 2))
        return products.sum((1, 2))

    # ---- pairs ------------------------------------------------------------------------------
    def _pixel_cost(self) -> float:
        """Return multiply-adds of a pair of inputs pixel by pixel."""
        places, q, _ = self._sizes()
        c, *pixels = self.a.shape[1:]
        return torch.Size(pixels).numel() ** 2 * c + SHIFT * q // c * places**2

    def _costs(self) -> tuple[float, float, float]:
        """Count a dense layer's; inputs of a convolution are paired the cheaper way."""
        places, q, p = self._sizes()
        if isinstance(self.module, nn.Linear):
            return places**2 * (p + q), places * p * q, p * q
        pair = places**2 * p + min(places**2 * q, self._pixel_cost())
        return math.inf if self._groups > 1 else pair, places * p * q, p * q

    @property
    def _by_pixels(self) -> bool:
        if isinstance(self.module, nn.Linear):
            return False
        places, q, _ = self._sizes()
        return self._pixel_cost() < places**2 * q

    def _sides(self) -> tuple[Tensor, Tensor]:
        """Take the inputs' patches, or their pixels."""
        if not self._by_pixels:
            return self._columns()
        return self.a.flatten(2).permute(2, 0, 1), self.d.flatten(2).permute(2, 0, 1)

    def _pairs(self, u: Tensor, d: Tensor, v: Tensor, e: Tensor) -> Tensor:
        """Sum over places l, m (u_il . v_jm + [bias]) (d_il . e_jm)."""
        weight, bias = self.trains
        products = d.flatten(0, 1) @ e.flatten(0, 1).T
        if weight:
            inputs = u.flatten(0, 1) @ v.flatten(0, 1).T
            if self._by_pixels:
                inputs = self._shifted(inputs, u.shape[1], v.shape[1])
            products *= inputs.add_(1) if bias else inputs
        if len(d) == 1:
            return products
        return products.view(len(d), d.shape[1], len(e), e.shape[1]).sum((0, 2))

    def _shifted(self, pixels: Tensor, n: int, m: int) -> Tensor:
        """Return products of patches from those of pixels.

        Where a kernel's position sees pixels y of one sample and y' of another, the product of
        the two patches has the term <a_y, a_y'>: with k positions, k shifted additions replace
        a matrix product k times as long.

        Args:
            pixels: Products of all pixels [H W n, H W m].
            n: Samples of the rows.
            m: Samples of the columns.
        """
        (_, _, *size), (_, _, *out) = (image.shape for image in self._images())
        pixels = pixels.view(*size, n, *size, m)
        patches = pixels.new_zeros(*out, n, *out, m)
        spans = [
            [_span(i * r - p, s, into, outof) for i in range(k)]
            for (k, s, p, r), into, outof in zip(self._axes(), out, size, strict=True)
        ]
        for oy, iy in spans[0]:
            for ox, ix in spans[1]:
                patches[oy, ox, :, oy, ox] += pixels[iy, ix, :, iy, ix]
        return patches.view(n * out[0] * out[1], -1)


def _span(offset: int, stride: int, places: int, pixels: int) -> tuple[slice, slice]:
    """Return the places whose pixel, stride times place + offset, is inside, and the pixels."""
    low = max(0, -(offset // stride))
    high = max(low, min(places, (pixels - 1 - offset) // stride + 1))
    start = stride * low + offset
    return slice(low, high), slice(start, start + stride * (high - low), stride)
