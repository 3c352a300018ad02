"""``graphrev view``: Model Explorer on this machine alone, and the adapter it loads.

Where Model Explorer is not installed beside graphrev, ``GRAPHREV_MODEL_EXPLORER`` may name the
``site-packages`` folder it is in.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from graphrev.api import diff
from graphrev.cli import main
from graphrev.cli.view_server import ViewServer
from graphrev.diff.explorer import session_of_diff
from tests.diff.graphs import compared, hostile_pair
from tools.webdriver import Browser, browser, chromium

_ROOT = Path(__file__).parents[2]


def _site() -> str | None:
    if find_spec("model_explorer") is not None:
        return ""
    return os.environ.get("GRAPHREV_MODEL_EXPLORER")


_EXPLORER = pytest.mark.skipif(
    _site() is None, reason="no Model Explorer: pip install 'graphrev[view]'"
)
_CHROMIUM = pytest.mark.skipif(
    chromium() is None, reason="no Chromium: apt-get install chromium chromium-driver"
)


def _environment() -> dict[str, str]:
    paths = [str(_ROOT), *([_site() or ""] if _site() else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A web application of three files, with what graphrev has to take out of the real one."""
    folder = tmp_path / "web_app"
    (folder / "static_files").mkdir(parents=True)
    (folder / "static_files/known.woff2").write_bytes(b"font")
    (folder / "main.js").write_text("void 0;")
    (folder / "index.html").write_text(
        '<link rel="preconnect" href="https://fonts.gstatic.com" crossorigin><style>'
        "@font-face{src:url(https://fonts.gstatic.com/s/x/v1/known.woff2)}"
        "@font-face{src:url(https://fonts.gstatic.com/s/x/v1/unknown.woff2)}</style>"
        '<link href="s.css" media="print" onload="this.media=\'all\'"><script src="main.js">'
    )
    (tmp_path / "secret.json").write_text("{}")
    return folder


@pytest.fixture
def server(app: Path) -> Iterator[ViewServer]:
    found = ViewServer(session_of_diff(compared()), app)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.stopping.set()
    found.shutdown()
    found.server_close()


def _get(
    server: ViewServer, path: str, host: str | None = None
) -> tuple[int, bytes, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, answer


def test_it_listens_on_loopback_only(server: ViewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with socket.socket() as probe:
        probe.settimeout(2)
        own = socket.gethostbyname(socket.gethostname())
        if not own.startswith("127."):
            assert probe.connect_ex((own, server.server_port)) != 0


def test_graphs_and_statuses_are_handed_out(server: ViewServer) -> None:
    status, body, _ = _get(server, "/api/v1/load_graphs_json?graph_index=1")
    assert status == 200
    assert json.loads(body)["graphs"][0]["id"] == "after"
    data = json.loads(_get(server, "/api/v1/load_node_data?node_data_index=0")[1])
    assert json.loads(data["content"])["before"]["results"]["net/relu"]["value"] == "renamed"
    assert json.loads(_get(server, "/api/v1/get_extensions")[1])[0]["id"] == "builtin_json"
    news = json.loads(_get(server, "/api/v1/check_new_version")[1])
    assert set(news.values()) == {""}


def test_the_page_names_no_other_machine(server: ViewServer) -> None:
    status, body, answer = _get(server, "/")
    text = body.decode()
    assert status == 200
    assert "https://" not in text and "onload" not in text
    assert "/static_files/known.woff2" in text and "unknown" not in text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "http" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.json",
        "/%2e%2e/secret.json",
        "//etc/hostname",
        "/api/v1/read_text_file?path=/etc/hostname",
        "/static_files",
        "/none.js",
    ],
)
def test_nothing_else_is_handed_out(server: ViewServer, path: str) -> None:
    status, body, _ = _get(server, path)
    assert (status, body) == (404, b"")


@pytest.mark.parametrize("query", ["graph_index=9", "graph_index=-1", "graph_index=x", ""])
def test_an_odd_number_is_the_first_graph(server: ViewServer, query: str) -> None:
    assert json.loads(_get(server, f"/api/v1/load_graphs_json?{query}")[1])["graphs"][0]["id"] == (
        "before"
    )


def test_a_page_that_calls_itself_otherwise_is_refused(server: ViewServer) -> None:
    assert _get(server, "/", host="evil.example")[0] == 403
    assert _get(server, "/", host="127.0.0.1")[0] == 403
    assert _get(server, "/", host=f"localhost:{server.server_port}")[0] == 200


def test_a_port_in_use_is_said(server: ViewServer, app: Path) -> None:
    from graphrev.errors import OutputError

    with pytest.raises(OutputError, match="cannot be used"):
        ViewServer(session_of_diff(compared()), app, server.server_port)


@pytest.mark.skipif(find_spec("model_explorer") is not None, reason="Model Explorer is installed")
def test_without_model_explorer_it_says_what_to_install(
    fixtures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["view", str(fixtures / "frozen.pb")])
    assert stop.value.code == 2
    assert "graphrev[view]" in capsys.readouterr().err


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser((1700, 1000)) as found:
        yield found


@pytest.fixture
def viewed(fixtures: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a running ``graphrev view`` of a rewritten graph."""
    from graphrev import api

    before, after = fixtures / "revnet.meta.gz", tmp_path / "after.meta"
    api.rewrite(before, "reversible").save(after)
    yield from _serving(str(before), str(after))


def _serving(*files: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "graphrev", "view", *files, "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=_environment(),
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("Serving on ").strip()
    finally:
        process.terminate()
        process.wait(10)


def _shot(page: Browser, name: str) -> None:
    folder = os.environ.get("GRAPHREV_SCREENSHOTS")
    if folder:
        page.screenshot(Path(folder) / f"{name}.png")


def _assert_shown(page: Browser, address: str) -> None:
    page.visit(address)
    page.wait("document.body.innerText.includes('op node count')", 60)
    page.wait("document.querySelectorAll('canvas').length >= 2", 60)


def _assert_local(page: Browser, address: str) -> None:
    root = address.partition("?")[0]
    severe = [entry for entry in page.log("browser") if entry["level"] == "SEVERE"]
    assert severe == []
    away = [u for u in page.requests() if not u.startswith((root, "data:", "blob:"))]
    assert away == []


@_EXPLORER
@_CHROMIUM
def test_model_explorer_shows_both_sides_and_counts(page: Browser, viewed: str) -> None:
    _assert_shown(page, viewed)
    text = page.wait("document.body.innerText.includes('#added') && document.body.innerText", 30)
    assert "1330" in text and "1374" in text
    for count in ("44", "30"):
        assert f"\n{count}\n" in text or f"\t{count}" in text, text
    page.wait("document.body.innerText.includes('Sync')")
    _shot(page, "model-explorer")
    _assert_local(page, viewed)


@_EXPLORER
@_CHROMIUM
def test_hostile_names_do_nothing_in_model_explorer(page: Browser) -> None:
    spec = find_spec("model_explorer")
    site = Path(_site() or Path(str(spec and spec.origin)).parents[1])
    server = ViewServer(session_of_diff(diff(*hostile_pair())), site / "model_explorer/web_app")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page.visit(server.address)
    page.run("window.alert = () => { window.harmed = true; }")
    page.wait("document.body.innerText.includes('op node count')", 60)
    assert not page.run("return window.harmed")
    _shot(page, "model-explorer-hostile")
    _assert_local(page, server.address)
    server.stopping.set()
    server.shutdown()
    server.server_close()


@_EXPLORER
def test_model_explorer_opens_meta_files_through_the_adapter(
    fixtures: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "model.meta"
    plain.write_bytes(gzip.decompress((fixtures / "revnet.meta.gz").read_bytes()))
    code = (
        "import json, sys\n"
        "from model_explorer.extension_manager import ExtensionManager\n"
        "manager = ExtensionManager(['graphrev.diff.explorer'])\n"
        "manager.load_extensions()\n"
        "own = [e for e in manager.get_extensions_metadata() if 'meta' in e['fileExts']]\n"
        "command = {'cmdId': 'convert', 'extensionId': own[0]['id'], 'modelPath': sys.argv[1],\n"
        "           'settings': {}, 'deleteAfterConversion': False}\n"
        "found = manager.run_cmd(command)['graphCollections'][0]\n"
        "ids = [node['id'] for node in found['graphs'][0]['nodes']]\n"
        "print(json.dumps([len(own), found['label'], len(ids), ids[0], 'loss' in ids]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(plain)],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [1, "model.meta", 1330, "x", True]


def test_the_difference_shown_is_that_of_the_text(fixtures: Path) -> None:
    """One comparison feeds every renderer."""
    path = fixtures / "frozen.pb"
    panes = session_of_diff(diff(path, path)).panes
    assert [pane.node_data and pane.node_data[pane.name]["results"] for pane in panes] == [{}, {}]
