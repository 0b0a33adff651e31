r"""Softmax-weighted sums over centers: the one hot path of the closed-form scores.

Every center-based score is a mixture whose weights depend on squared distances alone. With
:math:`r_j=\|x-\mu_j\|`, prior weights :math:`\pi_j`, and a kernel that gives a log weight
:math:`\ell(r^2)` and a precision :math:`\kappa(r^2)`,

.. math::
    w_j=\operatorname{softmax}_j(\log\pi_j+\ell(r_j^2)),\qquad
    s(x)=\sum_j w_j\kappa(r_j^2)(\mu_j-x),\qquad
    \log m(x)=\operatorname{lse}_j(\log\pi_j+\ell(r_j^2)).

One level :math:`\sigma` is :class:`GaussianKernel`: :math:`\ell=-r^2/2\sigma^2`, :math:`\kappa=1/\sigma^2`.

- :class:`Centers` holds the centers: float tensors, uint8 pixels, or an ``ImageSet`` that stays on disk.
- :class:`Kernel` is the interface of the weights; subclass it for another function of :math:`r^2`.
- :func:`sums` evaluates everything at once for a batch of queries (:class:`Sums`).
- :func:`field` and :func:`log_mass` are :math:`s(x)` and :math:`\log m(x)`, differentiable in x
  (reverse and forward mode, without the graph of the sums); :func:`mean` is the denoiser of one level.
- :func:`spread` applies the Jacobian of the field, :func:`log_weights` are all M normalized log weights.
- :func:`active` gives each query's centers that carry weight, for Jacobians and posteriors.
- :func:`node_averages` averages the weights over shifted queries :math:`x+hz` with one distance pass.
"""

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.field import field, log_mass, mean
from smoothscore.mixture.kernels import GaussianKernel, Kernel
from smoothscore.mixture.nodes import NodeAverages, node_averages
from smoothscore.mixture.pairs import Active
from smoothscore.mixture.spread import spread
from smoothscore.mixture.sums import Sums, active, log_weights, sums

__all__ = [
    "Active",
    "Centers",
    "GaussianKernel",
    "Kernel",
    "NodeAverages",
    "Sums",
    "active",
    "field",
    "log_mass",
    "log_weights",
    "mean",
    "node_averages",
    "spread",
    "sums",
]
