"""The papers' tables and figures, made again: their numbers beside ours, with the setting and the verdict.

One file a paper holds the printed numbers and one function a table or figure; :data:`ENTRIES` names them all.
"""

from smoothscore.reproduce.catalog import ENTRIES, Entry, names, reproduce
from smoothscore.reproduce.request import Request, Scale
from smoothscore.reproduce.result import Findings, Reproduction, Row

__all__ = ["ENTRIES", "Entry", "Findings", "Reproduction", "Request", "Row", "Scale", "names", "reproduce"]
