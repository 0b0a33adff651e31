"""Nearest neighbors, exact, and the graphs made of them."""

from smoothscore.neighbors.search import Neighbors, Search, nearest

__all__ = ["Neighbors", "Search", "nearest"]
