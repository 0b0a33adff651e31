"""The frozen constants of an audit. Whatever changes a verdict changes :data:`VERSION`, which every result prints."""

__all__ = [
    "ALIKE",
    "BETA",
    "BOUND",
    "CALIBRATION",
    "CANDIDATES",
    "CENTERS",
    "EXTRACTED",
    "KERNEL_NEIGHBORS",
    "LEAKED",
    "LEAK_NEIGHBORS",
    "LISTED",
    "LOOSE",
    "NEIGHBORS",
    "PAIRS",
    "PART_WEIGHT",
    "QUALITY",
    "REFERENCE",
    "REFINED",
    "SEED",
    "SIMILAR",
    "SPACINGS",
    "STRICT",
    "SURROUNDINGS",
    "TAIL",
    "TAIL_SHARE",
    "VERSION",
]

VERSION = "audit-2"
SEED = 0  # of every draw

LOOSE = 2 / 3  # of the ratio test: "Smoothing the score function", B.3.2
STRICT = 1 / 3  # of the ratio test: the criterion that "Kernel-smoothed scores" and "Two calm ends" cite
NEIGHBORS = 50  # nearest training images in a search; k of the extraction of B.4.5
LISTED = 5  # of them in the result
EXTRACTED = 0.01  # left tail that the extraction of B.4.5 keeps
BETA = 2.0  # of its confirmation in feature space
SIMILAR = 0.5  # cosine similarity of features; published thresholds go from 0.5 to 0.7
BOUND = 0.1  # cosine distance below which the memorization-informed Frechet distance is raised
CENTERS = 50  # at most so many cells in C_T, of at least 20 images each

SURROUNDINGS = 3  # neighbors after the first that tell the local density
SPACINGS = 18  # spacings after the first that tell the local dimension
CANDIDATES = 10  # training images that aligned matching looks at closely
REFINED = 4  # of them that it looks at most closely
ALIKE = 0.5  # aligned distance, a correlation of 7/8, below which a held-out image may be a near duplicate
LEAKED = 0.05  # false discovery rate of near duplicates among the held-out images
LEAK_NEIGHBORS = 20  # neighbors that tell them
REFERENCE = 2_000  # training images, each left out in turn, that put all statistics on one scale
CALIBRATION = 10_000  # images of each half of the training set that calibrate the other, without held-out images
TAIL = 0.05  # of the reference: beyond it a statistic's distribution is continued as an exponential
PART_WEIGHT = 0.5  # of the surprise of a part: its distribution has a heavier tail than the exponential it is given
TAIL_SHARE = 0.01  # of the held-out images: the share of samples beyond it is compared with this

QUALITY = 10_000  # images of each set in the measures of quality
KERNEL_NEIGHBORS = 5  # k of precision, recall, density and coverage
PAIRS = 120  # in the report
