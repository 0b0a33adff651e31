"""Lists of numbers that a user gives, checked."""

from collections.abc import Sequence

import torch
from torch import Tensor

from smoothscore.errors import InputError

__all__ = ["listed"]


def listed(name: str, values: Tensor | Sequence[float], count: int | None = None, zero: bool = False) -> Tensor:
    """``values`` as (n,) float64 on the CPU, in the order given.

    Args:
        name: what they are called.
        values: at least one number, all finite and positive.
        count: n, where it is known.
        zero: zeros are good, too.

    Raises:
        InputError: they are not such numbers.
    """
    wanted = f"{'a list of' if count is None else count} {'nonnegative' if zero else 'positive'}, finite numbers"
    try:
        numbers = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} is {values!r}; give {wanted}.") from None
    if numbers.ndim != 1 or not len(numbers) or (count is not None and len(numbers) != count):
        raise InputError(f"{name} has shape {tuple(numbers.shape)}; give {wanted}.")
    if not (torch.isfinite(numbers).all() and ((numbers > 0) | (zero & (numbers == 0))).all()):
        raise InputError(f"{name} has values out of range; give {wanted}.")
    return numbers
