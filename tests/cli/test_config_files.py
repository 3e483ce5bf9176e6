import pytest

from lit_knn.cli.config_files import check_files
from lit_knn.errors import UserError


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: 1\nb: 2\na: 3\n", "has the key a twice, in line 1 and in line 3"),
        (b"a:\n- {b: 1}\n- c:\n    d: 1\n    d: 1\n", "has the key a.1.c.d twice, in line 4 and in line 5"),
        (b"# h\xe4h\na: 1\n", r"is not text in UTF-8 \(byte 3\)"),
        ("a: 1\n".encode("utf-16"), "is not text in UTF-8"),
        (b"", "is empty"),
        (b"- a\n", "is a list"),
        (b"hello\n", "is a single value"),
        (b"a: [1\n", "is no YAML"),
    ],
)
def test_what_is_refused(tmp_path, content, sentence):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    for args in ([f"--config={path}"], ["test", "--config", str(path), "--x"], ["-c", str(path)]):
        with pytest.raises(UserError, match=f"^{path} {sentence}"):
            check_files(args)
    with pytest.raises(UserError, match=sentence):
        check_files([], str(path))


def test_what_is_not(tmp_path):
    """A key may override what an alias brings, and be in two items of a list; files that are not there are not ours."""
    path = tmp_path / "c.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: [{x: 1}, {x: 2}, *a, *a]\n")
    check_files(["--config", str(path), "--config", str(tmp_path), "--config=nowhere.yaml", "--config"])
