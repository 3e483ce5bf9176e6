import io
from pathlib import Path

from rich.console import Console

from lit_knn.report.rendering.document import Figure, Folded, Heading, Links, Paragraph, Table
from lit_knn.report.rendering.terminal import show


def shown(*blocks, width=120):
    console = Console(file=io.StringIO(), width=width)
    show(blocks, console)
    return console.file.getvalue()


def test_text_is_text_whatever_looks_like_markup():
    nasty = "[bold]a[/bold] [/x] {b} :smile:"
    for block in (Heading(nasty), Paragraph(nasty), Table([nasty], [[nasty]], caption=nasty)):
        assert shown(block).count(nasty) == (3 if isinstance(block, Table) else 1)


def test_a_warning_is_set_off_and_what_is_folded_is_open():
    assert shown(Paragraph("mind", warning=True)) == "Note: mind\n\n"
    blocks = [Paragraph("inner"), Figure(Path("/runs/a.png"), "curves")]
    assert shown(Folded("more", blocks)) == "more\n\ninner\n\ncurves: /runs/a.png\n"


def test_in_a_narrow_terminal_words_are_broken_and_numbers_are_not():
    table = Table(["what it is", "share"], [["many words " * 5, "+.015 to +.123"], ["a", "−.5"]])
    lines = shown(table, width=40).splitlines()
    assert any("+.015 to +.123" in line for line in lines)
    assert all(len(line) <= 40 for line in lines)
    assert any(line.rstrip().endswith(" −.5") for line in lines)  # on the right


def test_files_are_named():
    assert shown(Links("files:", [Path("/a/b.csv"), Path("/a/c.tex")])) == "files: b.csv, c.tex\n"


def test_a_table_whose_numbers_are_too_wide_is_shown_part_by_part():
    rows = [["a row", *(f".{column}{column}{column}" for column in range(1, 7))]]
    over = [[("", 1), ("Clean", 3), ("Gray box", 3)]]
    table = Table(["Database", *("UW", "CBW-E", "CBW-D") * 2], rows, caption="All of it.", over=over)
    wide, narrow = shown(table), shown(table, width=50)
    assert (wide.count("a row"), narrow.count("a row")) == (1, 2)
    assert wide.count("All of it.") == narrow.count("All of it.") == 1
    assert wide.count("CBW-E") == narrow.count("CBW-E") == 2
    assert narrow.count("Gray") == narrow.count("box") == 3  # over each of its columns
    first, second = narrow.split("a row")[1:]
    assert first.split()[:3] == [".111", ".222", ".333"]
    assert second.split()[:3] == [".444", ".555", ".666"]
    assert all(len(line) <= 50 for line in narrow.splitlines())


def test_eighty_columns_hold_a_comparison_without_breaking_a_head_a_layer_or_a_number():
    head = ["attack", "defense", "size", "top", "A", "B", "B − A", "95 % interval", "p"]
    row = ["✱ gray box, PGD", "kNN layer3.8.add", "0.02", "1", ".112", ".230", "+.118", "+.043 to +.211", "< .001"]
    lines = shown(Table(head, [row], 2), width=80).splitlines()
    assert lines[0].split() == " ".join(head).split()
    assert {*" ".join(row).split()} <= {*" ".join(lines).split()}
    assert all(len(line) <= 80 for line in lines)
