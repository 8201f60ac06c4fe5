"""Layers that are differentiated twice, the second time with their parameters constant.

Story       an attack takes the gradient by the parameters, and differentiates what it makes of it
            by the images. Autograd's second pass through a convolution computes the derivative by
            the weight too, which nobody asked for, and its rules for normalisation make many
            tensors of the size of the activations where three do. Within `ConstantParameters`
            layers whose parameters are leaves go by the functions below.
Convolution y = x * w is bilinear. With g the slope of y, and gx = g *T w, gw the slopes of x and w,
            the second pass has slopes s of gx and t of gw:
                of g:  s * w + x * t, one convolution of joined channels;    of x:  g *T t
Normalising by running statistics is affine in x: y = (x - mean) inv w + b, inv = 1 / deviation.
            gx = g w inv, gw = sum g (x - mean) inv, gb = sum g. With slopes s, t, u of these:
                of g:  s w inv + (x - mean) inv t + u;                       of x:  g inv t
Few channels  on a CPU the transposed convolution of oneDNN is slow where its result has fewer
            channels than a vector has numbers: there it is a convolution by the mirrored kernel, or
            a product and a sum of patches. So it is, too, where patches leave places out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

LANES, FEW, PATCHES = 16, 8, 2**24
"""Numbers in a vector of oneDNN's kernels; channels below which patches are faster, and how many
entries of patches are held at most."""
LARGE = 2**15
"""Entries of a layer's maps beyond which a function in Python costs less than it saves."""

Maps = Float[Tensor, "sample channel height width"]
Slopes = Float[Tensor, "sample out_channel out_height out_width"]
Kernels = Float[Tensor, "out_channel channel kernel_height kernel_width"]
Pair = tuple[int, int]
How = tuple[Pair, Pair, Pair]
"""Stride, padding and dilation of a convolution, of both axes each."""

_aten = torch.ops.aten


class ConstantParameters(TorchFunctionMode):
    """Within it, convolutions and normalisations are made for a second pass by their input alone.

    The gradient by the parameters, taken with a graph of its own (`create_graph`), is as always. In
    all that is differentiated after it, leaves that are parameters of such layers are constants. A
    gradient without a graph, and all other layers, are torch's. `gained` says whether there was a
    layer to gain from it.

    images  the input that the second pass is by; the first is not by it, so a layer that it goes
            into has no slope of it to compute

    Not for use under `torch.func` transforms.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.gained = False
        self._images = images

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        found = None
        if func is nn.functional.conv2d:
            found = _conv2d(self._images, *args, **kwargs)
        elif func is nn.functional.batch_norm:
            found = _batch_norm(*args, **kwargs)
        if found is None:
            return func(*args, **kwargs)
        self.gained = True
        return found


def _conv2d(
    images: Tensor, /, input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: int | Sequence[int] = 1, padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1, groups: int = 1,
) -> Tensor | None:  # fmt: skip
    """What torch's function of the same arguments gives, or None where it is to do it."""
    if groups != 1 or isinstance(padding, str) or input.ndim != 4 or not input.requires_grad:
        return None
    size = len(input) * max(weight.shape[:2]) * input.shape[2:].numel()
    if size <= LARGE or not _constant(weight, bias):
        return None
    how = _pair(stride), _pair(padding), _pair(dilation)
    found: Tensor = _Convolution.apply(input, weight, bias, how, input is images)
    return found


def _batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor | None:  # fmt: skip
    """The same."""
    if training or running_mean is None or running_var is None or weight is None or bias is None:
        return None
    if input.numel() <= LARGE or not input.requires_grad or not _constant(weight, bias):
        return None
    found: Tensor = _Normalisation.apply(input, weight, bias, running_mean, running_var, eps)
    return found


def _constant(*parameters: Tensor | None) -> bool:
    """Whether all of a layer's parameters are leaves with a gradient."""
    return all(one is None or (one.is_leaf and one.requires_grad) for one in parameters)


def _pair(value: int | Sequence[int]) -> Pair:
    first, second = (value, value) if isinstance(value, int) else (value[0], value[-1])
    return first, second


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Maps, weight: Kernels, bias: Tensor | None, how: How, of_images: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how, ctx.bias = how, None if bias is None else list(bias.shape)
        ctx.of_images = of_images
        ctx.taken = False
        return _convolved(x, weight, bias, how)

    @staticmethod
    def backward(ctx: Any, g: Slopes) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            ctx.taken = True
            wanted = not ctx.of_images, *wanted[1:]
            found = _ConvolutionSlopes.apply(g, x, weight, ctx.bias, ctx.how, wanted)
        elif ctx.taken:
            found = _back(g, weight, x, ctx.how), None, None
        else:
            found = _slopes(g, x, weight, ctx.bias, ctx.how, wanted)
        return *found, None, None


class _ConvolutionSlopes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, g: Slopes, x: Maps, weight: Kernels, bias: list[int] | None, how: How,
        wanted: tuple[bool, bool, bool],
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        ctx.save_for_backward(g, x, weight)
        ctx.set_materialize_grads(False)
        ctx.how = how
        return _slopes(g, x, weight, bias, how, wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, s: Tensor | None, t: Tensor | None, u: Tensor | None) -> Any:
        g, x, weight = ctx.saved_tensors
        of_g = None
        if s is not None and t is not None:
            of_g = _convolved(torch.cat([s, x], 1), torch.cat([weight, t], 1), u, ctx.how)
        elif t is not None:
            of_g = _convolved(x, t, u, ctx.how)
        elif s is not None:
            of_g = _convolved(s, weight, u, ctx.how)
        elif u is not None:
            of_g = u.view(1, -1, 1, 1).expand_as(g)
        of_x = None if t is None else _back(g, t, x, ctx.how)
        return of_g, of_x, None, None, None, None


def _convolved(x: Maps, weight: Kernels, bias: Tensor | None, how: How) -> Slopes:
    found: Tensor = _aten.convolution(x, weight, bias, *how, False, [0, 0], 1)
    return found


def _slopes(
    g: Slopes, x: Maps, weight: Kernels, bias: list[int] | None, how: How,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The slopes of x, weight and bias, where wanted."""
    of_x = _back(g, weight, x, how) if wanted[0] else None
    _, *rest = _aten.convolution_backward(
        g, x, weight, bias, *how, False, [0, 0], 1, (False, *wanted[1:])
    )
    return of_x, *rest


def _back(g: Slopes, weight: Kernels, x: Maps, how: How) -> Maps:
    """The transposed convolution: the slope of x, where g is that of x * weight."""
    stride, padding, dilation = how
    _, n_channels, *kernel = weight.shape
    room = _pair([d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)])
    patches = weight[0].numel() * len(g) * g.shape[2:].numel()
    on_cpu, few = g.device.type == "cpu", n_channels < LANES
    found: Tensor
    if on_cpu and few and n_channels >= FEW and stride == (1, 1) and min(room) >= 0:
        mirrored = weight.transpose(0, 1).flip(2, 3)
        found = _convolved(g, mirrored, None, (stride, room, dilation))
    elif on_cpu and (few or patches < x.numel()) and patches <= PATCHES:
        rows = torch.bmm(weight.flatten(1).t().expand(len(g), -1, -1), g.flatten(2))
        found = nn.functional.fold(rows, x.shape[2:], _pair(kernel), dilation, padding, stride)
    else:
        found = _aten.convolution_backward(
            g, x, weight, None, *how, False, [0, 0], 1, (True, False, False)
        )[0]
    return found


class _Normalisation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.taken = eps, False
        return _normalised(x, weight, bias, mean, var, eps)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():
            ctx.taken = True
            ctx.inv = (var + ctx.eps).rsqrt()
            found = _NormalisationSlopes.apply(g, x, weight, mean, var, ctx.inv, ctx.eps)
        elif ctx.taken:
            found = g * _along(weight * ctx.inv, g), None, None
        else:
            found = _normalised_slopes(g, x, weight, mean, var, ctx.eps)
        return *found, None, None, None


class _NormalisationSlopes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, var: Tensor, inv: Tensor,
        eps: float,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.save_for_backward(g, x, weight, mean, var, inv)
        ctx.eps = eps
        return _normalised_slopes(g, x, weight, mean, var, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, s: Tensor, t: Tensor, u: Tensor) -> tuple[Tensor | None, ...]:
        g, x, weight, mean, var, inv = ctx.saved_tensors
        of_g = _normalised(x, t, u, mean, var, ctx.eps)
        of_g += s * _along(weight * inv, s)
        return of_g, g * _along(inv * t, g), None, None, None, None, None


def _normalised(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    found: Tensor = _aten.native_batch_norm(x, weight, bias, mean, var, False, 0.0, eps)[0]
    return found


def _normalised_slopes(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = _aten.native_batch_norm_backward(
        g, x, weight, mean, var, None, None, False, eps, (True, True, True)
    )
    return found


def _along(values: Tensor, maps: Tensor) -> Tensor:
    """One value a channel, to go with maps of any number of axes."""
    return values.view(1, -1, *[1] * (maps.ndim - 2))
