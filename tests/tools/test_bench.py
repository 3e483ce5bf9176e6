import importlib
import json
import re
from pathlib import Path

import pytest

_TOOLS = Path(__file__).parents[2] / "tools"
_NUMBER = r"\d+\.\d+"
_VALUE = r"\d+(?:\.\d+)?(?:e[+-]\d+)?"
_LINE = re.compile(
    rf"(?P<name>\S.* / .*?)  +{_VALUE}  +{_VALUE}  (?P<unit>\S+) +(?P<ratio>{_NUMBER})  "
    rf"{_NUMBER} – {_NUMBER}(  (≤ {_NUMBER}|≥ {_NUMBER}|{_NUMBER} – {_NUMBER}) (?P<verdict>met|MISSED))?"
)
_NETWORK = ["--network", "lit_knn.backbones.digits.digits_resnet", "--taps", "layer1.0.add", "layer2.1.add"]
SUITE = Path(__file__).parent / "small_suite.yaml"
_GPU = ["--device", "cpu", "--network", _NETWORK[1], "--size", "8", "--images", "4", "--dimension", "16"]
_SECOND = ["--tap", "layer3.0.add", "--pool", "1", "--size", "8", "--batch", "2"]
_WIDE = ["--wide-dimensions", "300", "--wide-rows", "128"]


@pytest.mark.parametrize(
    ("script", "options", "targets"),
    [
        ("bench_attack", ["--size", "32", "--batch", "1"], [True, True, True, False, False, False, True]),
        pytest.param(
            "bench_pca",
            ["--rows", "256", "--block", "64", "--dimensions", "32", "--components", "4", *_WIDE],
            [True, True, True, False],
            marks=pytest.mark.slow,
        ),
        pytest.param("bench_report", ["--runs", "2"], [True, True, True, True], marks=pytest.mark.slow),
        (
            "bench_autoattack",
            ["--queries", "6", "--batch", "4", "--steps", "2", "--squares", "3", "--radius", "0.6"],
            [True, False, True],
        ),
        pytest.param("bench_cascade", ["--queries", "2", "--suite", str(SUITE)], [True], marks=pytest.mark.slow),
        pytest.param("bench_test", ["--counts", "8", "16"], [True, True], marks=pytest.mark.slow),
        ("bench_store", ["--rows", "500", "--classes", "30", "--shards", "2"], [True, False]),
        (
            "bench_grow",
            [*_NETWORK, "--shards", "2", "--shard-size", "9", "--side", "8", "--index", "IVF2,Flat"],
            [True, False, False],
        ),
        (
            "bench_defense",
            ["--rows", "500", "--dimension", "8", "--classes", "10", "100", "--batch", "3"],
            [True, True, True, True],
        ),
        ("bench_tv", ["--only", "scikit-image", "--images", "2", "--side", "32", "--eps", "1e-4"], [True]),
        (
            "bench_second",
            [*_NETWORK[:2], "--second", f"{_NETWORK[1].removesuffix('resnet')}surrogate", *_SECOND, "--rows", "500"],
            [True, True, True],
        ),
        (
            "bench_quilting",
            ["--count", "2000", "--index", "IVF16,Flat", "--size", "32", "--batch", "2"],
            [True, False, False, False],
        ),
        (
            "bench_index",
            ["--rows", "3000", "--dimension", "16", "--queries", "20", "--batch", "10", "--binary", "BIVF8"],
            [True, False, True],
        ),
        (
            "bench_index",
            ["--only", "resident", "--rows", "3000", "--dimension", "16", "--queries", "20", "--batch", "10"],
            [True, True, True],
        ),
        pytest.param(
            "bench_milvus",
            ["--uri", "lite.db", "--rows", "3000", "--dimension", "16", "--queries", "40", "--lists", "8"],
            [True, False, True, True, True],
            marks=pytest.mark.milvus,
        ),
        ("bench_gpu", [*_GPU, "--only", "attack", "--matrix", "64"], [True, True]),
        ("bench_gpu", [*_GPU, "--only", "search", "--rows", "3000", "--queries", "20", "--batch", "10"], [False]),
        pytest.param(
            *("bench_gpu", [*_GPU, "--only", "idle", "--tap", "layer2.1.add", "--stored", "500"], [False, False]),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "bench_extract",
            [*_NETWORK, "--size", "8", "--images", "20", "--batch", "8", "--counts", "8", "24", "--shard-size", "12"],
            [True, False, False, True],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_lines_can_be_read(
    script: str,
    options: list[str],
    targets: list[bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(_TOOLS)
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "record.json"
    importlib.import_module(script).main(["--rounds", "1", "--output", str(output), *options])
    table = capsys.readouterr().out.splitlines()
    lines = [_LINE.fullmatch(line) for line in table[3:]]
    record = json.loads(output.read_text())
    assert all(lines), table
    assert [line["verdict"] is not None for line in lines] == targets
    for line, result in zip(lines, record["results"], strict=True):
        assert (line["name"], line["unit"]) == (result["name"], result["unit"])
        assert float(line["ratio"]) == pytest.approx(result["ratio"], abs=1e-3)
        assert result["low"] <= result["ratio"] <= result["high"]
        assert {"met": True, "MISSED": False, None: None}[line["verdict"]] == result["met"]
    assert record["benchmark"] == table[0]
    assert {"cpu", "cores", "load", "versions"} <= record["machine"].keys()
    assert {"torch", "lit_knn"} < record["machine"]["versions"].keys()
