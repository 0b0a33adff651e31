r"""NCSN++ and DDPM++, the U-Nets of Song et al. 2021, and what lies between them.

============================  ====================  ====================
\                             NCSN++                DDPM++
============================  ====================  ====================
noise embedding               Fourier, 2 x width    positional, 1 x width
input at lower resolutions    residual              none
filter                        [1, 3, 3, 1]          [1, 1]
============================  ====================  ====================

Parameters and buffers carry the names of the public ``SongUNet`` checkpoints of EDM (Karras et al. 2022), one to one:
``enc.32x32_conv``, ``enc.32x32_block0.conv0.weight``, ``enc.16x16_down``, ``enc.16x16_aux_residual``,
``dec.8x8_in0``, ``dec.16x16_up``, ``dec.32x32_block4``, ``dec.32x32_aux_norm``, ``map_layer0``, ``map_noise.freqs``. A
network with a ``stem`` or without noise conditioning has no counterpart there.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from smoothscore.errors import InputError
from smoothscore.networks.architecture import Architecture
from smoothscore.networks.blocks import HALF_POWER, NEARLY_ZERO, ResidualBlock, Resize
from smoothscore.networks.embeddings import FourierEmbedding, PositionalEmbedding
from smoothscore.networks.layers import ConvHalving, Doubling, Halving, convolution, group_norm, xavier
from smoothscore.networks.sigma_head import SigmaHead

__all__ = ["SongUNet"]


class SongUNet(nn.Module):
    """The U-Net: images and the preconditioned level of their noise in, images of the same shape out.

    Images whose sides are not multiples of the coarsest pixel are continued at their lower and right edges by
    repeating the last row and column, and cut back at the end.

    Args:
        shape: (C, H, W) of one image.
        noise_conditional: False leaves the noise embedding out, with all its parameters.
        sigma_head: with a :class:`SigmaHead`; None: in networks without noise conditioning.
        options: fields of :class:`Architecture`.

    Raises:
        InputError: a shape or an option that is none.

    Source: Song et al. 2021, "Score-based generative modeling through stochastic differential equations", appendix H;
    Smoothing the score function, appendix B.1, for the network without the embedding.
    """

    kind = "song-unet"

    def __init__(
        self,
        shape: Sequence[int],
        noise_conditional: bool = True,
        *,
        sigma_head: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"A U-Net takes images of shape (channels, height, width), not {tuple(shape)}.")
        self.architecture = part = Architecture(**options)
        self.shape = torch.Size(shape)
        self.noise_conditional = noise_conditional
        self.coarsest = part.stem * 2 ** (len(part.multipliers) - 1)
        height, width = (-(-side // self.coarsest) * self.coarsest // part.stem for side in self.shape[1:])
        self.names = [f"{height >> level}x{width >> level}" for level in range(len(part.multipliers))]
        self.attentive = [height >> level in part.attention for level in range(len(part.multipliers))]
        self.embedded = bool(noise_conditional or part.classes or part.augmentation)
        if self.embedded:
            self._build_embedding()
        self._build_decoder(self._build_encoder())
        wanted = not noise_conditional if sigma_head is None else sigma_head
        self.sigma_head = SigmaHead(self.shape) if wanted else None

    @property
    def classes(self) -> int:
        """Number of class labels, 0 for none."""
        return self.architecture.classes

    @property
    def options(self) -> dict[str, Any]:
        """What the network was built with beside shape and noise conditioning."""
        return {**asdict(self.architecture), "sigma_head": self.sigma_head is not None}

    def forward(
        self,
        x: Tensor,
        noise: Tensor | None = None,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """The raw output, shape of ``x``.

        Args:
            x: (batch, C, H, W).
            noise: (batch,) preconditioned levels; none in a network without noise conditioning.
            class_labels: (batch, classes) one-hot, or zeros for no class, as which it is taken when it is missing.
            augment_labels: (batch, augmentation); missing for images that are not augmented.

        Raises:
            InputError: the level is missing, or labels are given to a network that was built without them.
        """
        if self.noise_conditional and noise is None:
            raise InputError("This network takes the noise level; pass it, or build one with noise_conditional=False.")
        for labels, name in ((class_labels, "classes"), (augment_labels, "augmentation")):
            if labels is not None and not getattr(self.architecture, name):
                raise InputError(
                    f"This U-Net was built without {name} and would pass over the labels; build it with "
                    f"{name}={labels.shape[1]}."
                )
        stem = self.architecture.stem
        _, height, width = self.shape
        padding = (0, -width % self.coarsest, 0, -height % self.coarsest)
        h = functional.pad(x, padding, mode="replicate") if any(padding) else x
        h = functional.pixel_unshuffle(h, stem) if stem > 1 else h
        embedding = self._embed(x, noise, class_labels, augment_labels) if self.embedded else None
        h = self._decode(self._encode(h, embedding), embedding)
        h = functional.pixel_shuffle(h, stem) if stem > 1 else h
        return h[..., :height, :width]

    def _build_embedding(self) -> None:
        part = self.architecture
        size, hidden = part.width * part.embedding_width, part.width * part.hidden
        if self.noise_conditional:
            if size % 2:
                raise InputError(
                    f"width of a U-Net is {part.width}; sines and cosines of the noise level come in pairs, "
                    "so give an even number."
                )
            self.map_noise = PositionalEmbedding(size) if part.embedding == "positional" else FourierEmbedding(size)
        if part.classes:
            self.map_label = _linear(part.classes, size)
        if part.augmentation:
            self.map_augment = _linear(part.augmentation, size, bias=False)
        self.map_layer0, self.map_layer1 = _linear(size, hidden), _linear(hidden, hidden)

    def _embed(self, x: Tensor, noise: Tensor | None, classes: Tensor | None, augmentation: Tensor | None) -> Tensor:
        part = self.architecture
        e = x.new_zeros(len(x), part.width * part.embedding_width)
        if self.noise_conditional:
            e = self.map_noise(noise)
        if part.classes:
            classes = x.new_zeros(1, part.classes) if classes is None else classes.to(x.dtype)
            e = e + self.map_label(part.classes**0.5 * classes)
        if part.augmentation and augmentation is not None:
            e = e + self.map_augment(augmentation.to(x.dtype))
        return functional.silu(self.map_layer1(functional.silu(self.map_layer0(e))))

    def _block(self, inputs: int, outputs: int, attention: bool = False, resize: Resize = None) -> ResidualBlock:
        part = self.architecture
        hidden = part.width * part.hidden if self.embedded else None
        return ResidualBlock(
            inputs, outputs, hidden, attention=attention, resize=resize, taps=part.taps, dropout=part.dropout
        )

    def _build_encoder(self) -> list[int]:
        """Fills ``enc``; returns the channels of everything that the decoder gets, in order."""
        part = self.architecture
        planes = side = self.shape[0] * part.stem**2
        channels = part.width
        kept = []
        self.enc = nn.ModuleDict()
        for level, name in enumerate(self.names):
            if level == 0:
                self.enc[f"{name}_conv"] = convolution(planes, channels, 3)
            else:
                self.enc[f"{name}_down"] = self._block(channels, channels, resize="half")
                if part.encoder == "skip":
                    self.enc[f"{name}_aux_down"] = Halving(part.taps)
                    self.enc[f"{name}_aux_skip"] = convolution(planes, channels, 1)
                if part.encoder == "residual":
                    self.enc[f"{name}_aux_residual"] = ConvHalving(side, channels, 3, part.taps)
                    side = channels
            kept.append(channels)
            for index in range(part.blocks):
                block = self._block(channels, part.width * part.multipliers[level], self.attentive[level])
                self.enc[f"{name}_block{index}"] = block
                channels = block.outputs
                kept.append(channels)
        return kept

    def _build_decoder(self, kept: list[int]) -> None:
        """Fills ``dec``, from the channels that the encoder kept."""
        part = self.architecture
        planes, channels = self.shape[0] * part.stem**2, kept[-1]
        last = len(self.names) - 1
        self.dec = nn.ModuleDict()
        for level, name in reversed(list(enumerate(self.names))):
            if level == last:
                self.dec[f"{name}_in0"] = self._block(channels, channels, attention=True)
                self.dec[f"{name}_in1"] = self._block(channels, channels)
            else:
                self.dec[f"{name}_up"] = self._block(channels, channels, resize="double")
            for index in range(part.blocks + 1):
                attention = self.attentive[level] and index == part.blocks
                block = self._block(channels + kept.pop(), part.width * part.multipliers[level], attention)
                self.dec[f"{name}_block{index}"] = block
                channels = block.outputs
            if part.decoder == "skip" or level == 0:
                if level < last and part.decoder == "skip":
                    self.dec[f"{name}_aux_up"] = Doubling(part.taps)
                self.dec[f"{name}_aux_norm"] = group_norm(channels)
                self.dec[f"{name}_aux_conv"] = convolution(channels, planes, 3, variance=NEARLY_ZERO)

    def _encode(self, x: Tensor, embedding: Tensor | None) -> list[Tensor]:
        """Everything that the decoder gets, in order."""
        part, side = self.architecture, x
        kept: list[Tensor] = []
        for level, name in enumerate(self.names):
            x = self.enc[f"{name}_down"](x, embedding) if level else self.enc[f"{name}_conv"](x)
            if level and part.encoder == "skip":
                side = self.enc[f"{name}_aux_down"](side)
                x = x + self.enc[f"{name}_aux_skip"](side)
            if level and part.encoder == "residual":
                x = side = HALF_POWER * (x + self.enc[f"{name}_aux_residual"](side))
            kept.append(x)
            for index in range(part.blocks):
                x = self.enc[f"{name}_block{index}"](x, embedding)
                kept.append(x)
        return kept

    def _decode(self, kept: list[Tensor], embedding: Tensor | None) -> Tensor:
        """The output, from everything that the encoder kept."""
        part, x, result = self.architecture, kept[-1], None
        last = len(self.names) - 1
        for level, name in reversed(list(enumerate(self.names))):
            for step in ("in0", "in1") if level == last else ("up",):
                x = self.dec[f"{name}_{step}"](x, embedding)
            for index in range(part.blocks + 1):
                x = self.dec[f"{name}_block{index}"](torch.cat([x, kept.pop()], dim=1), embedding)
            if part.decoder == "skip" or level == 0:
                new = self.dec[f"{name}_aux_conv"](functional.silu(self.dec[f"{name}_aux_norm"](x)))
                result = new if result is None else new + self.dec[f"{name}_aux_up"](result)
        return cast(Tensor, result)


def _linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    xavier(layer)
    return layer
