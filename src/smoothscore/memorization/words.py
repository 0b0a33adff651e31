"""An audit in words: the verdict, its lines for a terminal, and the method with its limits."""

from typing import TYPE_CHECKING

from smoothscore.data import ImageSet
from smoothscore.memorization.patches import PARTS
from smoothscore.memorization.protocol import TAIL_SHARE, VERSION

if TYPE_CHECKING:
    from smoothscore.memorization.verdict import Audit

__all__ = ["lead", "method", "notes", "summary"]


def lead(audit: "Audit") -> str:
    """The verdict with its certainty, in two sentences or three."""
    n, flagged, tail = len(audit.ratio), audit.flagged, audit.tail_excess
    if flagged is None or tail is None:
        rate = audit.memorized_fraction
        return (
            f"{rate.count} of {n} samples ({float(rate):.1%}) have a nearest training image at less than "
            f"{audit.threshold:.3g} times the distance of the next one. Without held-out images, and with so few "
            "training images, it cannot be said how many of them real images would show too."
        )
    first = f"{len(flagged)} of {n} samples are flagged as copies of training images"
    if len(flagged):
        if len(audit.identical):
            first += f", {len(audit.identical)} of them identical to one"
        first += f"; on average at most {audit.alpha:.0%} of a list made this way are mistaken"
    more = "more" if tail.low > 0 else "fewer" if tail.high < 0 else "not distinguishably more"
    control = "held-out real images" if audit.held_out is not None else "training images compared with the other half"
    second = (
        f"Among the samples there are {more} close matches than among {control}: {tail.value:+.1%}, with a 95 % "
        f"interval from {tail.low:+.1%} to {tail.high:+.1%}."
    )
    return f"{first}. {second}"


def summary(audit: "Audit") -> list[tuple[str, str]]:
    """The verdict for a terminal."""
    control, excess, flagged, tail = audit.held_out_fraction, audit.excess, audit.flagged, audit.tail_excess
    lines = []
    if flagged is not None:
        identical = f", {len(audit.identical)} of them identical to one" if len(audit.identical) else ""
        lines.append(("flagged", f"{len(flagged)} at a false discovery rate of {audit.alpha:.0%}{identical}"))
    lines += [
        ("memorized", f"{audit.memorized_fraction}, ratio < {audit.threshold:.3g} in {audit.detector.main} space"),
        ("held-out", "no held-out images: no control" if control is None else str(control)),
        ("excess", "unknown without held-out images" if excess is None else str(excess)),
    ]
    if tail is not None:
        lines.append(("by surprise", f"{tail} more than the top {TAIL_SHARE:.0%} of the control"))
    lines.append(("mean ratio", f"{audit.ratio.mean():.3f}, smallest {audit.ratio.min():.3f}"))
    lines += [("Frechet", _frechet_line(audit)), ("protocol", VERSION)]
    return lines + [("note", note) for note in notes(audit)]


def notes(audit: "Audit") -> list[str]:
    """What a reader must know beside the verdict, the oddest first."""
    found = list(audit.findings)
    if audit.held_out is None:
        found.append(
            "No held-out images were given. The halves of the training set took their place in turn: near duplicates "
            "within the training set hide copies, and faint copies are found less often. A model that merely draws "
            "typical images cannot be told from one that copies a little."
        )
    if len(audit.leaked):
        found.append(f"{len(audit.leaked)} held-out images are {audit.leaked_as}; they were left out of the control.")
    near = audit.near_leaks
    if len(near):
        names = [audit.held_out.names[i] if isinstance(audit.held_out, ImageSet) else f"number {i}" for i in near[:5]]
        which = ", ".join(names) + (", ..." if len(near) > 5 else "")
        found.append(
            f"{len(near)} held-out images look like training images in another form ({which}). They hide copies; if "
            "they are the same pictures, audit with leaks = near (--leaks near), which leaves them out."
        )
    shortest = audit.shortest_list
    if shortest is not None and shortest > 1:
        found.append(
            f"With {len(audit.ratio):,} samples and a control of {0 if audit.control is None else len(audit.control):,}"
            f" images, fewer than {shortest:,} copies that are not identical cannot be told from chance at this rate; "
            "more held-out images lower that number."
        )
    return found


def _frechet_line(audit: "Audit") -> str:
    names = {"to_train": "to train", "to_held_out": "to held-out", "reference": "train to held-out"}
    known = [f"{words} {audit.frechet[key]:.4g}" for key, words in names.items() if audit.frechet[key] is not None]
    return f"{', '.join(known) or 'needs two images a set'} ({audit.frechet['space']} space)"


def method(audit: "Audit") -> str:
    """How the audit came to its verdict, and what it does not find."""
    alarms = audit.false_alarms
    return (
        f"Protocol {VERSION}. Distances are Euclidean in {audit.detector.main} space, unsquared, computed exactly. "
        + _candidates(audit)
        + "The "
        "ratio of a sample is its distance to the nearest training image over that to the second distinct nearest "
        "one; identical training images count once. A sample counts as memorized when the ratio is below "
        f"{audit.threshold:.3g}. Rates at different thresholds do not compare.\n\n"
        f"The calibrated test looks into these spaces: {', '.join(audit.spaces)}. In each it compares the "
        "nearest distance with the distances around the sample, with their spread, and with the distances around the "
        "training image; each comparison is ranked among training images left out in turn, and the surprise is the "
        "largest of all."
        + _tolerance(audit)
        + "\n\n"
        + _certainty(audit)
        + " Flags follow Benjamini and Hochberg; samples equal to a training image value by value are flagged whatever "
        "the p-value."
        + ("" if alarms is None else f" As a filter, this rule drops about {alarms:.2%} of new real images.")
        + "\n\nA part of a training image inside a new one is found where it fills a quarter or the middle of the "
        "image at its own place; smaller, shifted and mirrored parts are mostly not found, nor is a copy turned around "
        "or recolored. Copies of an image that has dozens of near duplicates look like images from a dense region. A "
        "flag says that one training image is nearer than chance explains, not that a person would see the same "
        "picture: look at the pairs, mark them, and save the marks."
    )


def _tolerance(audit: "Audit") -> str:
    """How the spaces compare that are not an encoder's."""
    text = ""
    if "aligned" in audit.spaces:
        text += (
            " Aligned images are compared over mirror images, shifts of up to 3 of 32 pixels, crops and changes of "
            "brightness and contrast."
        )
    if set(PARTS) & set(audit.spaces):
        text += " Parts are compared by their principal components, at their place only; their surprise counts half."
    return text


def _certainty(audit: "Audit") -> str:
    """What the p-values rest on."""
    if audit.held_out is None:
        return (
            "The p-value of a sample is twice the smaller one of two: the training set was cut into halves at random, "
            "and each of the two is the share of images of one half, the sample itself counted in, whose surprise "
            "among the other half is as large. It is valid when the samples that are no copies come from the source of "
            "the training images. A half is sparser than the whole, so faint copies are found less often than with "
            "held-out images."
        )
    text = (
        "The p-value of a sample is the share of held-out images, itself counted in, whose surprise is as large. It is "
        "valid when held-out and training images come from one source and the model saw none of the held-out ones."
    )
    if audit.leaks == "near":
        text += (
            f" {len(audit.leaked)} held-out images that are training images or near duplicates of them were left out "
            "by a rule that does not look at the samples. So it is valid for samples that are no near duplicates by "
            "that rule; the others count as copies, though new images of this source can be such by chance."
        )
    return text


def _candidates(audit: "Audit") -> str:
    """That neighbors may have been missed, where they may."""
    missed = {space: share for space, share in audit.detector.recall.items() if share < 1}
    if not missed:
        return ""
    shares = ", ".join(f"{share:.1%} in {space} space" for space, share in missed.items())
    return f"Of so many training images the nearest were sought by FAISS, which finds, on a sample, {shares}. "
