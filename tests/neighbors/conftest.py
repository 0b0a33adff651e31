import pytest

from smoothscore.data import ImageSet, load_images


@pytest.fixture(scope="session")
def digits() -> tuple[ImageSet, ImageSet]:
    """60 and 1,000 different MNIST digits."""
    queries, centers = load_images("mnist-5k").split((60, 1000), seed=0)
    return queries, centers
