"""The site as CI builds it: its pages are the READMEs and all that is exported, and it needs nothing from elsewhere."""

import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

import lit_knn

ROOT = Path(__file__).parents[2]
SHAPE = {"h1", "h2", "h3", "ul", "ol", "li", "table", "tr", "th", "td", "pre", "p", "em", "strong", "img"}
VOID = {"br", "hr", "img", "input", "link", "meta", "path", "source"}
pytestmark = pytest.mark.skipif(not importlib.util.find_spec("material"), reason="needs the extra docs")


class Parsed(HTMLParser):
    """A page: its anchors, links, what it loads, and its article: shape, words, and what of them is no code."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.links, self.loaded, self.shape, self.unclosed = [], [], [], [], set()
        self.prose, self.words, self._open, self._quiet = "", "", [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        loads = tag in {"img", "script", "source"} or (tag == "link" and attrs.get("rel") in {"stylesheet", "icon"})
        (self.loaded if loads else self.links).extend(attrs[key] for key in ("href", "src", "srcset") if attrs.get(key))
        if tag not in VOID:
            self._open.append(tag)
        self.shape += [tag] if "article" in self._open and tag in SHAPE else []
        self._quiet = attrs.get("class") == "headerlink" or tag == "script"

    def handle_endtag(self, tag):
        if tag not in VOID:
            while self._open and (last := self._open.pop()) != tag:
                self.unclosed.add(last)
        self._quiet = False

    def handle_data(self, data):
        if "article" in self._open and not self._quiet:
            self.words += data
            self.prose += "" if {"code", "pre"} & {*self._open} else data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, and its pages."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "tools/site/mkdocs.yml"]
    built = subprocess.run([*build, "--site-dir", folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder, {path: Parsed(path.read_text()) for path in folder.rglob("*.html")}


def test_every_readme_is_a_page_that_says_what_github_shows(site):
    folder, pages = site
    listed = subprocess.run(
        ["git", "ls-files", "*README.md", "CHANGELOG.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "configs/README.md" in listed.stdout
    for name in listed.stdout.split():
        page = folder / name.replace("README.md", "index.html").replace(".md", ".html")
        expected = Parsed(f"<article>{MarkdownIt().enable('table').render((ROOT / name).read_text())}</article>")
        assert pages[page].words.split() == expected.words.split(), name
        assert pages[page].shape == expected.shape, name


def exporting():
    yield lit_knn
    for found in pkgutil.walk_packages(lit_knn.__path__, "lit_knn."):
        if found.ispkg and hasattr(room := importlib.import_module(found.name), "__all__"):
            yield room


def test_every_export_is_explained_on_the_page_of_its_room(site):
    folder, pages = site
    for room in exporting():
        path = folder / "reference" / f"{room.__name__}.html"
        anchors = {f"{room.__name__}.{name}" for name in room.__all__}
        assert anchors <= {*pages[path].ids}
        html = path.read_text()
        for anchor in anchors:
            entry = html.partition(f'id="{anchor}"')[2].partition('class="doc doc-contents')[2]
            assert re.search(r"<p>\w", entry.partition('class="doc doc-object')[0]), anchor


def test_no_link_is_dead_and_nothing_is_fetched_from_elsewhere(site):
    folder, pages = site
    for page, parsed in pages.items():
        for link in parsed.links + parsed.loaded:
            url = urlsplit(link)
            if url.scheme:
                assert url.scheme in {"https", "http"}, (page, link)
                assert link not in parsed.loaded, (page, link)
                continue
            assert not url.netloc, (page, link)
            base = folder if page.name == "404.html" else page.parent  # shown wherever nothing is, so from the root
            assert base == folder or not url.path.startswith("/"), (page, link)
            target = (base / unquote(url.path.lstrip("/"))).resolve() if url.path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (page, link)
            assert not url.fragment or target.suffix != ".html" or unquote(url.fragment) in pages[target].ids, (
                page,
                link,
            )
    for sheet in folder.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\W*(https?:)?//", sheet.read_text()), sheet


def test_no_mark_up_is_left_nor_taken_for_html(site):
    for page, parsed in site[1].items():
        assert not parsed.unclosed, page
        assert "`" not in parsed.prose, page


def test_classes_that_a_readme_names_lead_to_their_reference(site):
    folder, pages = site
    assert "../reference/lit_knn.defenses.html#lit_knn.defenses.KNN" in pages[folder / "configs" / "index.html"].links
    assert "reference/lit_knn.data.html#lit_knn.data.TarShards" in pages[folder / "index.html"].links


def test_pages_and_exports_can_be_searched_without_a_server(site):
    folder, pages = site
    index = (folder / "search" / "search_index.js").read_text()
    for page in pages:
        assert page.name == "404.html" or f'"{page.relative_to(folder)}"' in index, page
    assert '"reference/lit_knn.attacks.html#lit_knn.attacks.PGD"' in index
    assert "iframe-worker.js" in pages[folder / "index.html"].loaded


def test_what_a_readme_shows_or_links_to_goes_with_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools" / "site")
    hooks = importlib.import_module("hooks")
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    for name in ("README.md", "CHANGELOG.md", "tools/README.md", "curves/a.svg", "tools/b.png", "tools/c.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "tools" / "README.md").write_text(
        """![accuracy](../curves/a.svg "against Δ") and <img width="9" src="b.png">, [c](c.yaml), [the paper](https://arxiv.org),
        [above](../README.md#limits), [below](#below)"""
    )
    assert hooks.shown() == {"README.md", "curves/a.svg", "tools/b.png", "tools/c.yaml"}
