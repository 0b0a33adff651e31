"""Nearest neighbors, exact, and the graphs made of them."""

from smoothscore.neighbors.graph import NeighborGraph
from smoothscore.neighbors.search import Neighbors, Search, nearest

__all__ = ["NeighborGraph", "Neighbors", "Search", "nearest"]
