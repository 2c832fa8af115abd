"""Every Python block of the README and of the docs runs as it is written, page by page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"^(?P<before><!-- not run: .* -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", DOCS / "index.md", *sorted(DOCS.glob("[!_]*/*.md"))]


def blocks(page):
    """Blocks of a page that are run; one that needs what is not here says so in a comment."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [block["code"] for block in found if not block["before"]]


WITH_BLOCKS = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if blocks(page)]


def run(page, folder):
    code = "import matplotlib\nmatplotlib.use('agg')\n" + "\n".join(blocks(page))
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]


# Two classes, which two processes can take: every page fits a router or two.
class TestEvenPages:
    @pytest.mark.parametrize("page", WITH_BLOCKS[::2])
    def test_the_blocks_of_a_page_run(self, page, tmp_path):
        run(page, tmp_path)


class TestOddPages:
    @pytest.mark.parametrize("page", WITH_BLOCKS[1::2])
    def test_the_blocks_of_a_page_run(self, page, tmp_path):
        run(page, tmp_path)
