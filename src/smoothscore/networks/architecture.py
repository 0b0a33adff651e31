"""The settings of a SongUNet, checked when given."""

from collections.abc import Sequence
from dataclasses import dataclass

from smoothscore.errors import InputError

__all__ = ["Architecture"]

CHOICES = {
    "embedding": ("positional", "fourier"),
    "encoder": ("standard", "skip", "residual"),
    "decoder": ("standard", "skip"),
    "taps": ((1, 1), (1, 3, 3, 1)),
}


@dataclass(frozen=True)
class Architecture:
    """What a :class:`SongUNet` is built from; the defaults are DDPM++.

    Attributes:
        width: channels at the finest resolution, before its multiplier.
        multipliers: channels at each resolution, in units of ``width``; each resolution is half of the one before.
        blocks: residual blocks at each resolution; one more on the way up.
        attention: heights at which blocks have self-attention. The middle of the network always has it.
        dropout: probability, in training, that a value before a block's last convolution is zero.
        embedding: "positional" or "fourier", of the noise level.
        embedding_width: size of the embedding, in units of ``width``.
        hidden: size of what the blocks get of it, in units of ``width``.
        encoder: what the lower resolutions get of the input: "standard" nothing more, "skip" the input made smaller,
            "residual" a convolution of what the resolution above got.
        decoder: "standard", the finest resolution makes the output, or "skip", the sum of what all make.
        taps: filter of changes of resolution, (1, 1) or (1, 3, 3, 1).
        classes: number of class labels, 0 for none.
        augmentation: number of values that describe an image's augmentation, 0 for none.
        stem: side of the blocks of pixels that the network takes as channels; with 2 it is three times faster.

    Raises:
        InputError: a value that is none of these, by name.
    """

    width: int = 128
    multipliers: Sequence[int] = (1, 2, 2, 2)
    blocks: int = 4
    attention: Sequence[int] = (16,)
    dropout: float = 0.1
    embedding: str = "positional"
    embedding_width: int = 1
    hidden: int = 4
    encoder: str = "standard"
    decoder: str = "standard"
    taps: Sequence[int] = (1, 1)
    classes: int = 0
    augmentation: int = 0
    stem: int = 1

    def __post_init__(self) -> None:
        for name in ("multipliers", "attention", "taps"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise InputError(f"{name} of a U-Net is {value!r}; give a list of whole numbers.")
            object.__setattr__(self, name, tuple(value))
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name} of a U-Net is {getattr(self, name)!r}; take one of {', '.join(map(repr, allowed))}."
                )
        smallest = {
            "width": 4,
            "blocks": 1,
            "embedding_width": 1,
            "hidden": 1,
            "classes": 0,
            "augmentation": 0,
            "stem": 1,
        }
        counts = [(name, getattr(self, name), least) for name, least in smallest.items()]
        counts += [("multipliers", value, 1) for value in self.multipliers or (0,)]
        counts += [("attention", value, 1) for value in self.attention]
        for name, value, least in counts:
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} of a U-Net is {value!r}; give whole numbers from {least}.")
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise InputError(f"dropout of a U-Net is {self.dropout!r}; give a probability below 1.")
