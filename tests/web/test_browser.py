"""The landing page in a browser: at the width of a telephone, in the dark and in the light."""

import html
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from netfilter_exporter import collectors
from support import needs
from support.serving import Running

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not BROWSER and not needs.E2E, reason="missing: chromium"),
]

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
#: preferredColorScheme of Blink.
SCHEMES = {"dark": 0, "light": 1}
GROUND = {"dark": "14171b", "light": "ffffff"}

#: Shows the page in a frame of a width, and writes down what a person would have to scroll.
FRAME = """<!DOCTYPE html>
<iframe id="frame" width="{width}" height="600" style="border:0" srcdoc="{page}"></iframe>
<p id="result"></p>
<script>
const frame = document.getElementById("frame");
frame.onload = () => {{
  const root = frame.contentDocument.documentElement;
  const wide = [...root.querySelectorAll("*")].filter(
    (e) => e.getBoundingClientRect().right > {width} + 0.5 || e.scrollWidth > e.clientWidth + 1
      && getComputedStyle(e).display !== "inline");
  const small = [...root.querySelectorAll("p, li, pre, dd, h3, a")].filter(
    (e) => parseFloat(getComputedStyle(e).fontSize) < 13);
  document.getElementById("result").textContent =
    `width=${{root.scrollWidth}} wide=${{wide.length}} small=${{small.length}}`;
}};
</script>
"""


def browse(tmp_path, *flags):
    """Run the browser and return what it prints."""
    profile = tmp_path / "profile"
    done = subprocess.run(
        [BROWSER, *QUIET, f"--user-data-dir={profile}", *flags],
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    )
    return done.stdout


@pytest.fixture
def server(fake_host):
    """The pages of a host with findings."""
    host = fake_host("5.10/nat-unreachable")
    host.processes = frozenset({"dockerd"})
    running = Running(collectors.load().values(), system=host.system)
    yield running
    running.close()


def first_pixel(png):
    """Return the colour of the top left pixel of a PNG with 8 bits a channel, as rrggbb."""
    content = Path(png).read_bytes()
    chunks, at = {}, 8
    while at < len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        chunks.setdefault(kind, b"")
        chunks[kind] += content[at + 8 : at + 8 + length]
        at += 12 + length
    # Behind the number of the filter; no filter changes the first pixel of the first row.
    return zlib.decompress(chunks[b"IDAT"])[1:4].hex()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_as_the_browser_shows_it(server, tmp_path, scheme):
    """Served over HTTP, with its headers, the page has its style, in the scheme of the browser."""
    shot = tmp_path / "page.png"
    browse(
        tmp_path,
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        "--window-size=360,800",
        f"--screenshot={shot}",
        f"http://127.0.0.1:{server.port}/",
    )
    assert first_pixel(shot) == GROUND[scheme]


@pytest.mark.parametrize("width", [320, 1200])
def test_nothing_has_to_be_scrolled_sideways(server, tmp_path, width):
    """At 320 pixels and on a wide screen everything fits, in letters that can be read."""
    text = server.get("/")[2].decode()
    outer = tmp_path / "outer.html"
    outer.write_text(FRAME.format(width=width, page=html.escape(text, quote=True)))
    dom = browse(tmp_path, "--window-size=1300,800", "--dump-dom", f"file://{outer}")
    result = re.search(r'<p id="result">(.*?)</p>', dom)
    assert result
    assert result.group(1) == f"width={width} wide=0 small=0"
