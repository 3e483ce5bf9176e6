import random
import re
import shutil
import subprocess

import pytest

from lit_knn.report.rendering.document import Table
from lit_knn.report.rendering.latex import COMMANDS, SYMBOLS, escaped, latex

PDFLATEX = shutil.which("pdflatex")
NASTY = r"[a]*{b} \input{x} 5 % & $\Delta$ #1 _2 ^3 ~ <i>|'` --- L∞ = 8/255, Δ ≤ ½"
TABLE = Table(
    ["Image database", "Source", "UW", "CBW-D", "UW", "CBW-D"],
    [["IN-1.3M", "paper", ".472", "–", ".285", ".286"], ["", "[run_1]", "−.5", "1.000", "–", "–"], [NASTY] * 6],
    2,
    f"What 95 % of {NASTY} is",
    [[("", 2), ("Clean", 2), ("Gray & box", 2)]],
    "paper-table-1",
)


def read(tex):
    """Read LaTeX back as the text that it sets, by a reader of its own: what is no known command fails."""
    known = {command: text for text, command in (COMMANDS | SYMBOLS).items() if len(command) > 1}
    text, place = "", 0
    while place < len(tex):
        found = next((c for c in sorted(known, key=len, reverse=True) if tex.startswith(c, place)), None)
        assert found or tex[place] not in r"\{}$&#^_~%", tex[place:]
        text += known[found] if found else tex[place]
        place += len(found or tex[place])
    return text


def test_any_text_reads_back():
    draw = random.Random(0)
    special = [*"\\{}$&#^_~%<>|[]*-`'\"", "–", "Δ", "L∞", "∞", " ", "ß", "é", "a", "9", "\\item", "--", "{}"]
    for _ in range(3000):
        text = "".join(draw.choice(special) for _ in range(draw.randrange(12)))
        assert read(escaped(text)) == " ".join(text.split())


def test_any_character_is_safe_wherever_it_stands():
    for number in range(0x3000):
        tex = escaped(f"a{chr(number)}b")
        assert re.fullmatch(r"a.*b", tex)
        assert tex.isprintable()
        assert not re.search(r"(?<!\\)[&#%_]", re.sub(r"\$[^$\\]*(\\[\w|]+)?\$", "", tex))
        assert tex.count("{") - tex.count("\\{") == tex.count("}") - tex.count("\\}")


def test_two_hyphens_are_no_dash_and_a_bracket_is_no_option():
    assert escaped("a--b---c-d") == "a-{}-b-{}-{}-c-d"
    assert escaped("[x]\n*") == "{[}x{]} {*}"


def test_the_structure_of_a_table():
    text = latex([TABLE, Table(["a"], [["b"]], name="attackers")])
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    assert text.count(r"\begin{table}") == text.count(r"\caption{") == text.count(r"\toprule") == 2
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:paper-table-1", "tab:attackers"]
    assert r"\caption{attackers}" in text
    assert r"\begin{tabular}{llrrrr}" in text
    body = text.split(r"\end{table}")[0]
    rows = [line for line in body.splitlines() if line.endswith(r" \\")]
    assert len(rows) == 2 + len(TABLE.rows)
    for row in rows:
        spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d)\}", row)]
        cells = len(re.findall(r"(?<!\\)&", row)) + 1
        assert cells - len(spans) + sum(spans) == 6
    assert rows[0] == r"\multicolumn{2}{c}{} & \multicolumn{2}{c}{Clean} & \multicolumn{2}{c}{Gray \& box} \\"
    assert r"\cmidrule(lr){3-4} \cmidrule(lr){5-6}" in body


@pytest.mark.skipif(PDFLATEX is None, reason="needs pdflatex and booktabs: apt-get install texlive-latex-recommended")
def test_latex_takes_it(tmp_path):
    document = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}\input{report}\end{document}"
    (tmp_path / "main.tex").write_text(document)
    (tmp_path / "report.tex").write_text(latex([TABLE]))
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "main"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout  # wide as it is, it is shrunk to the text
