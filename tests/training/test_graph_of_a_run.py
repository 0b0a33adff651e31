"""The neighbors that a run keeps, and what its process is spared."""

import subprocess
import sys

import pytest
import torch

import smoothscore as ss
from smoothscore.neighbors import NeighborGraph
from smoothscore.training import setup

SETTINGS = {"method": "temperature", "neighbors": 5, "steps": 2, "batch_size": 8, "network_options": {"width": 8}}

SCRIPT = """
import sys
import torch
import smoothscore as ss
images = torch.rand(400, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
ss.train(images, ss.TrainConfig(**{settings}), {folder!r})
print(sorted({{"sklearn", "scipy"}} & set(sys.modules)))
"""


def test_a_script_with_images_in_memory_trains_without_what_the_search_needs(tmp_path):
    """And needs no guard around what it does."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(settings=SETTINGS | {"space": "pca:4"}, folder=str(tmp_path / "run")))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr


def test_the_graph_is_searched_once(tmp_path, monkeypatch):
    images = ss.load_images("digits", limit=100)
    run = ss.train(images, ss.TrainConfig(**SETTINGS), tmp_path / "run")
    file = tmp_path / "run" / "neighbors.safetensors"
    assert torch.equal(NeighborGraph.load(file, images).indices, NeighborGraph.build(images, 4).indices)
    with monkeypatch.context() as patch:
        patch.setattr(NeighborGraph, "build", None)
        assert ss.train(images, ss.TrainConfig(**SETTINGS | {"steps": 4}), run.folder).step == 4
        with pytest.raises(TypeError):
            setup.make_objective(ss.TrainConfig(**SETTINGS | {"space": "pca:4"}), images, file)
        with pytest.raises(TypeError):
            setup.make_objective(ss.TrainConfig(**SETTINGS), images[1:], file)
    assert setup.make_objective(ss.TrainConfig(**SETTINGS | {"neighbors": 7}), images, file).indices.shape[1] == 7
