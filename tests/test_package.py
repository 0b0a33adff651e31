"""The package as it is shipped: the wheel, the public names, the documentation, the demonstration."""

import importlib.util
import inspect
import re
import subprocess
import sys
import zipfile
from operator import attrgetter
from pathlib import Path

import pytest

import smoothscore as ss
from smoothscore import demo

ROOT = Path(__file__).resolve().parents[1]

SIGNATURES = {
    "load_images": ["source", "split", "limit", "seed", "resolution", "class_"],
    "diagnose": ["train", "held_out", "score", "sigmas", "seed"],
    "train": ["train", "config", "out", "held_out"],
    "sample": ["score", "n", "sampler", "steps", "sigmas", "teleport", "seed", "trajectory", "projection"],
    "audit": ["samples", "train", "held_out", "encoder", "threshold", "alpha"],
    "load_score": ["spec"],
    "EmpiricalScore": ["centers"],
    "UnifiedScore": ["centers", "sigmas", "temperature", "neighbors", "optimal_shell"],
    "GaussianScore": ["mean", "covariance"],
    "GaussianMixtureScore": ["weights", "means", "covariances"],
    "MollifiedScore": ["score", "bandwidth", "samples", "seed"],
    "PiecewiseScore": ["regions"],
    "NetworkScore": ["network", "preconditioning"],
    "NeighborGraph.build": ["images", "k", "space", "within_class"],
    "Diagnosis.recommend": ["self", "goal"],
    "GaussianScore.fit": ["images", "rank"],
    "GaussianScore.solve": ["self", "x", "sigma_from", "sigma_to"],
    "GaussianMixtureScore.fit": ["images", "components", "rank", "seed"],
    "EmpiricalScore.jacobian": ["self", "x", "sigma"],
    "geometry.posterior_weight": ["train", "sigmas", "seed"],
    "geometry.shell_coverage": ["train", "held_out", "sigmas", "seed"],
    "geometry.shell_overlap": ["distance", "sigma", "dim", "t", "own_shell"],
    "geometry.weight_thresholds": ["train", "p", "delta"],
    "schedules.karras": ["steps", "sigma_min", "sigma_max", "rho"],
    "schedules.log_uniform": ["n", "sigma_min", "sigma_max"],
    "schedules.shell_touch": ["sigma_min", "sigma_max", "dim", "kind"],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_stand_in_the_promised_order(name):
    assert list(inspect.signature(attrgetter(name)(ss)).parameters)[: len(SIGNATURES[name])] == SIGNATURES[name]


def test_every_public_name_is_there_and_documented():
    for name in ss.__all__:
        thing = getattr(ss, name)
        if callable(thing):
            assert inspect.getdoc(thing), name


def test_wheel_holds_the_package_and_its_templates(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert ss.__version__ in wheel.name
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("smoothscore/")}
    sources = (ROOT / "src").rglob("*")
    wanted = {str(p.relative_to(ROOT / "src")) for p in sources if p.is_file() and "__pycache__" not in p.parts}
    assert shipped == wanted
    assert "smoothscore/report/templates/page.html" in shipped
    assert "smoothscore/py.typed" in shipped


def _builder():
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]), ids=lambda p: p.name)
def test_links_and_pictures_of_a_page_exist(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_readme_shows_the_table_of_the_demo_with_its_setting():
    block = _builder().TABLE.search((ROOT / "README.md").read_text())[0]
    assert all(column in block for column in demo.COLUMNS)
    assert f"{demo.SAMPLES} samples of each score" in block.replace("\n", " ")


def test_commands_of_the_readme_are_commands():
    from smoothscore.cli import app

    known = {command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"^smoothscore (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)) <= known


@pytest.mark.slow
@pytest.mark.parametrize("guide", _builder().guides(), ids=lambda path: path.name)
def test_the_code_of_a_guide_runs(guide, tmp_path):
    (tmp_path / "pictures").mkdir()
    subprocess.run([sys.executable, "-c", _builder().program(guide)], cwd=tmp_path, check=True)


@pytest.mark.slow
def test_demo_shows_what_it_promises(tmp_path):
    result = demo.run()
    empirical, *smoothed = [entry.audit.memorized_fraction for entry in result.entries]
    assert empirical.low > 0.95
    assert all(rate.high < 0.05 for rate in smoothed)
    page = result.save_html(tmp_path / "report.html").read_text()
    assert page.count("<script") == 0
    for entry in result.entries:
        assert f"Samples: {entry.name}" in page
