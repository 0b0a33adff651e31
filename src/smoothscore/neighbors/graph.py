"""The neighbor graph of a data set: for every image the k nearest others, in pixels or in a feature space."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from smoothscore.data import ImageSet, fingerprint, to_images
from smoothscore.encoders import Encoder, encoder
from smoothscore.errors import InputError
from smoothscore.neighbors.approximate import LARGE, Approximate
from smoothscore.neighbors.search import Neighbors, Search
from smoothscore.report.write import write_bytes

__all__ = ["NeighborGraph"]

Backend = Literal["auto", "exact", "faiss", "hnsw"]


@dataclass(frozen=True, eq=False)
class NeighborGraph:
    """The k nearest other images of each of N images.

    Attributes:
        indices: (N, k) int64, nearest first, never the image itself; equal distances in the order of the images.
        distances: (N, k) float64, unsquared; in pixel space in the units of [-1, 1].
        group: (N,) int64, equal for identical images.
        space: name of the encoder.
        within_class: whether the neighbors are of the image's own class.
        recall: the share of true neighbors found, measured on a sample; 1 for the exact search.
        fingerprint: of the images.
    """

    indices: Tensor
    distances: Tensor
    group: Tensor
    space: str
    within_class: bool
    recall: float
    fingerprint: str

    @classmethod
    def build(
        cls,
        images: ImageSet | Tensor,
        k: int,
        space: str | Encoder = "pixel",
        within_class: bool = False,
        backend: Backend = "auto",
    ) -> "NeighborGraph":
        """The graph of ``images`` (N, *shape).

        Args:
            images: an ImageSet, or a tensor: floats in [-1, 1] or uint8 pixels.
            k: neighbors of each image, from 1 to N - 1 (or to the size of the smallest class, less one).
            space: where distances are measured; see :func:`smoothscore.encoders.encoder`.
            within_class: restrict neighbors to the image's class; the images need labels.
            backend: "exact" as :class:`Search`; by FAISS, "faiss" for an inverted file or "hnsw" for a graph of links,
                with exact distances of the candidates and a measured recall; "auto" takes "faiss" above a million
                images.

        Raises:
            InputError: k is out of range, labels or the package faiss are missing, or the encoder cannot be had.

        Cost: for uint8 images whose spectrum is steep, 0.2 of the float32 product of all pairs; otherwise 1.1 to 1.6
        times that product. Memory: 300 MB and up to 2 KB an image beside the images.
        """
        if backend not in ("auto", "exact", "faiss", "hnsw"):
            raise InputError(f"There is no backend {backend!r}; take auto, exact, faiss or hnsw.")
        if not isinstance(images, Tensor | ImageSet):
            raise InputError(f"The images are a {type(images).__name__}; pass a tensor (N, *shape) or an ImageSet.")
        if not isinstance(space, str | Encoder):
            raise InputError(f"space is {space!r}; give the name of an encoder, or an Encoder.")
        if len(images) < 2:
            raise InputError(f"A neighbor graph needs 2 images or more, not {len(images)}.")
        measure = encoder(space, images) if isinstance(space, str) else space
        place = measure.place(images)
        if backend == "auto":
            backend = "faiss" if len(images) > LARGE else "exact"
        parts = list(_parts(images, within_class))
        smallest, members = min(parts, key=lambda part: len(part[1]))
        most = len(members) - 1
        if not isinstance(k, int | np.integer) or not 1 <= k <= most:
            raise InputError(f"k is {k!r}; it must be between 1 and {most}, the other images of {smallest}.")
        indices = torch.empty(len(images), k, dtype=torch.int64)
        distances = torch.empty(len(images), k, dtype=torch.float64)
        hits = 0.0
        for _, members in parts:
            chosen = place if len(members) == len(images) else place[members]
            search = (
                Search(chosen) if backend == "exact" else Approximate(chosen, "hnsw" if backend == "hnsw" else "ivf")
            )
            found = search(chosen, k + 1)
            recall = search.recall if isinstance(search, Approximate) else 1.0
            own = torch.from_numpy(members)
            local, distances[own] = _without_self(found)
            indices[own] = own[local]
            hits += recall * len(members)
        group = torch.from_numpy(_groups(images))
        return cls(indices, distances, group, measure.name, within_class, hits / len(images), fingerprint(images))

    @property
    def duplicates(self) -> list[list[int]]:
        """Groups of identical images, as ascending lists of indices, by their first."""
        group = self.group.numpy()
        order = group.argsort(kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
        return sorted(part.tolist() for part in parts if len(part) > 1)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the graph as safetensors; the path that was written.

        Raises:
            InputError: the file cannot be written.
        """
        tensors = {"indices": self.indices, "distances": self.distances, "group": self.group}
        facts = {
            "kind": "smoothscore neighbor graph",
            "fingerprint": self.fingerprint,
            "space": self.space,
            "within_class": str(self.within_class),
            "recall": repr(self.recall),
        }
        return write_bytes(path, save(tensors, facts))

    @classmethod
    def load(cls, path: str | os.PathLike[str], images: ImageSet | Tensor) -> "NeighborGraph":
        """Read the graph that :meth:`save` wrote of the same images.

        Raises:
            InputError: the file is missing or no neighbor graph, or belongs to other images.
        """
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path} cannot be read as a neighbor graph: {error}.") from error
        try:
            if facts["kind"] != "smoothscore neighbor graph":
                raise ValueError
            graph = cls(
                **tensors,
                space=facts["space"],
                within_class=facts["within_class"] == "True",
                recall=float(facts["recall"]),
                fingerprint=facts["fingerprint"],
            )
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path} is no neighbor graph; give a file that NeighborGraph.save wrote.") from None
        if not graph.belongs(images):
            raise InputError(f"{path} is the graph of other images; build it anew for these.")
        return graph

    def belongs(self, images: ImageSet | Tensor) -> bool:
        """Whether the graph is of these images: as they are, or as the ImageSet of which they are the tensor."""
        if len(images) != len(self.indices):
            return False
        if self.fingerprint == fingerprint(images):
            return True
        if not isinstance(images, Tensor) or images.ndim != 4:
            return False
        pixels = ImageSet.from_array(images) if images.dtype == torch.uint8 else to_images(images)
        return self.fingerprint == pixels.fingerprint


def _parts(images: ImageSet | Tensor, within_class: bool) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The sets among which neighbors are sought, by name."""
    if not within_class:
        yield "the set", np.arange(len(images))
        return
    labels = images.labels if isinstance(images, ImageSet) else None
    if labels is None:
        raise InputError("within_class needs labels, and these images have none; load them with labels.")
    for label in np.unique(labels):
        yield f"class {label}", np.flatnonzero(labels == label)


def _without_self(found: Neighbors) -> tuple[Tensor, Tensor]:
    """Neighbors without the query itself, or the last where its many duplicates hide it: (N, k) of (N, k + 1)."""
    others = found.indices != torch.arange(len(found.indices))[:, None]
    others[:, -1] &= ~others.all(1)
    shape = (len(others), -1)
    return found.indices[others].view(shape), found.distances[others].view(shape)


def _groups(images: ImageSet | Tensor) -> NDArray[np.int64]:
    """(N,) equal for identical images."""
    if isinstance(images, ImageSet):
        return images.distinct()[1]
    return np.unique(images.flatten(1).cpu().numpy(), axis=0, return_inverse=True)[1].astype(np.int64)
