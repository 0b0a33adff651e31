"""An audit as its JSON file holds it: every number, and what it takes to get them again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from smoothscore.data import ImageSet, fingerprint
from smoothscore.memorization.protocol import SEED, VERSION

if TYPE_CHECKING:
    from smoothscore.memorization.images import Images
    from smoothscore.memorization.verdict import Audit

__all__ = ["counts", "setting", "values"]


def values(audit: "Audit") -> Mapping[str, object]:
    """The results by name."""
    excess, tail = audit.excess, audit.tail_excess
    return {
        "protocol": VERSION,
        "memorized_fraction": audit.memorized_fraction,
        "held_out_fraction": audit.held_out_fraction,
        "excess": None if excess is None else excess._asdict(),
        "tail_excess": None if tail is None else tail._asdict(),
        "flagged": audit.flagged,
        "flagged_names": _names(audit),
        "identical": audit.identical,
        "shortest_list": audit.shortest_list,
        "findings": audit.findings,
        "literature": audit.literature.values(),
        "frechet": audit.frechet,
        "leaked": audit.leaked,
        "near_leaks": audit.near_leaks,
        "sources": audit.sources,
        "classes": audit.classes,
        "ratio": audit.ratio,
        "memorized": audit.memorized,
        "surprise": audit.surprise,
        "surprise_by_space": audit.surprise_by_space,
        "p_values": audit.p_values,
        "matches": audit.matches,
        "neighbors": audit.neighbors,
        "distances": audit.distances,
        "held_out_ratio": audit.held_out_ratio,
        "control": audit.control,
    }


def setting(audit: "Audit") -> Mapping[str, object]:
    """Options, counts, seed and fingerprints, and what was done to the images when they were read."""
    sets = _sets(audit)
    read = {name: images for name, images in sets.items() if isinstance(images, ImageSet)}
    return {
        "protocol": VERSION,
        "seed": SEED,
        "encoder": audit.detector.main,
        "spaces": audit.spaces,
        "control": [len(side.control) for side in audit.sides],
        "threshold": audit.threshold,
        "alpha": audit.alpha,
        "leaks": audit.leaks,
        "images": counts(audit),
        "distinct_train": len(audit.detector.first),
        "recall": audit.detector.recall,
        "left_out_in_turn": [len(side.detector.left_out) for side in audit.sides],
        "leaked": len(audit.leaked),
        "skipped": {name: len(images.skipped) for name, images in read.items()},
        "skipped_files": [file for images in read.values() for file in images.skipped],
        "reading": {name: images.notes for name, images in read.items()},
        "fingerprints": {name: fingerprint(images) for name, images in sets.items()},
    }


def counts(audit: "Audit") -> dict[str, int]:
    """The images of each set that were used."""
    return {"samples": 0, "train": 0, "held_out": 0} | {name: len(images) for name, images in _sets(audit).items()}


def _sets(audit: "Audit") -> dict[str, "Images"]:
    sets = {"samples": audit.samples, "train": audit.train, "held_out": audit.held_out}
    return {name: images for name, images in sets.items() if images is not None}


def _names(audit: "Audit") -> list[str] | None:
    """Of the flagged samples, where they have any."""
    if audit.flagged is None or not isinstance(audit.samples, ImageSet):
        return None
    return [audit.samples.names[index] for index in audit.flagged]
