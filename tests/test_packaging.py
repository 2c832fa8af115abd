"""Wheel and source distribution hold what they should, and the wheel works by itself."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """What is needed to build, where building leaves no traces."""
    folder = tmp_path_factory.mktemp("tree") / "lookahead_sk"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lookahead_sk", folder / "lookahead_sk", ignore=ignored)
    return folder


def build(tree, kind, folder):
    command = [sys.executable, "-c", BUILD, kind, str(folder)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def modules():
    return {str(path.relative_to(ROOT)) for path in (ROOT / "lookahead_sk").rglob("*.py")} | {
        "lookahead_sk/py.typed"
    }


def test_the_wheel_holds_the_package_and_works_by_itself(tree, tmp_path):
    wheel = build(tree, "wheel", tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert {name for name in names if ".dist-info/" not in name} == modules()
    (metadata,) = (tmp_path / "site").glob("*.dist-info/METADATA")
    assert "License-Expression: BSD-3-Clause" in metadata.read_text()
    assert "Requires-Dist: torch>=2.6" in metadata.read_text()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import lookahead_sk\n"
        "assert lookahead_sk.__file__.startswith(sys.argv[1]), lookahead_sk.__file__\n"
        "assert 'torch' not in sys.modules\n"
        "opt = lookahead_sk.TwoStepConstrainedBO([(0, 1)], random_state=0)\n"
        "print(lookahead_sk.__version__, opt.ask().shape)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "site")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == wheel.name.split("-")[1]


def test_the_source_distribution_builds_the_same_wheel(tree, tmp_path):
    source = build(tree, "sdist", tmp_path)
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (folder,) = (tmp_path / "source").iterdir()
    assert {"LICENSE", "README.md", "pyproject.toml"} <= {path.name for path in folder.iterdir()}
    with zipfile.ZipFile(build(folder, "wheel", tmp_path)) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == modules()
