"""What the command line says to mistakes: a line, in its own words."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

from tmfun_pyg.cli import prepare
from tmfun_pyg.cli.command import make_parser
from tmfun_pyg.cli.find_files import find_files
from tmfun_pyg.cli.fit import fit_parser
from tmfun_pyg.cli.main import main
from tmfun_pyg.cli.option_names import in_options
from tmfun_pyg.cli.options import parse_options

MODELS = "--model must be one of BM3, BPRMF, FREEDOM, "


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--modle", "TMFUN"],
            "'--modle' is not an option of tmfun fit; did you mean --model?",
        ),
        (
            ["--data.rot", "x"],
            "'--data.rot' is not an option of tmfun fit; "
            "did you mean --data.root?",
        ),
        (["--xyz", "x"], "'--xyz' is not an option of tmfun fit"),
        (
            ["--trainer.max_epo", "3"],
            "'--trainer.max_epo' is not an option of tmfun fit; did you mean "
            "--trainer.max_epochs?",
        ),
        (["extra"], "'extra' is not an option of tmfun fit"),
        (
            ["--model.chanels", "8"],
            "'--model.chanels' is not an option of TMFUN; "
            "did you mean --model.channels?",
        ),
        (
            ["--model", "LightGCN", "--model.attention", "false"],
            "'--model.attention' is not an option of LightGCN",
        ),
        (
            ["--model.channels", "x"],
            "--model.channels must be of type int (got 'x')",
        ),
        (["--lr", "a"], "--lr must be of type float (got 'a')"),
        (["--lr"], "--lr must come with a value"),
        (
            ["--data.zero_rows", "x"],
            "--data.zero_rows must be one of 'error', 'mask' (got 'x')",
        ),
        (
            ["--config", "typo.yaml"],
            "'--modle' is not an option of tmfun fit; did you mean --model?",
        ),
        (
            ["--config", "class.yaml"],
            "'--model.chanels' is not an option of TMFUN; "
            "did you mean --model.channels?",
        ),
        (
            ["--config", "group.yaml"],
            "'--loader.batchsize' is not an option of tmfun fit; "
            "did you mean --loader.batch_size?",
        ),
        (
            ["--trainer.max_epochs", "abc"],
            "--trainer.max_epochs must be of type int (got 'abc')",
        ),
        (
            ["--trainer.limit_val_batches", "all"],
            "--trainer.limit_val_batches must be of type float or int (got "
            "'all')",
        ),
        (
            ["--model.svd_start", "maybe"],
            "--model.svd_start must be one of true, false, auto (got 'maybe')",
        ),
        (
            ["--loader.batch_size", "big"],
            "--loader.batch_size must be auto, or of type int (got 'big')",
        ),
        (
            ["--model.softmax_negatives", "many"],
            "--model.softmax_negatives must be auto, or of type int (got "
            "'many')",
        ),
        (
            ["--model.softmax_negatives", "true"],
            "--model.softmax_negatives must be auto, or of type int (got "
            "'true')",
        ),
        (
            ["--loader.val_users", "few"],
            "--loader.val_users must be of type int (got 'few')",
        ),
    ],
)
def test_options(
    args: List[str], message: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("typo.yaml").write_text("modle: TMFUN\n")
    Path("class.yaml").write_text(
        "model:\n  class_path: TMFUN\n  init_args:\n    chanels: 3\n"
    )
    Path("group.yaml").write_text("loader:\n  batchsize: 3\n")
    assert main(["fit", *args]) == 2
    assert capsys.readouterr().err == f"tmfun fit: error: {message}\n"


def test_numbers_out_of_range(capsys: Any) -> None:
    for option, value, message in (
        ("data.k", "0", "must be at least 1"),
        ("data.k", "9999", "must be less than the 1491 warm items"),
        ("seed_everything", "99999999999", "must be at most 4294967295"),
    ):
        assert main(["fit", f"--{option}", value]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"tmfun fit: error: --{option} {message}")


@pytest.mark.parametrize(
    "name",
    [
        *("Foo", "tmfun_pyg.nn.Foo", "json.JSONDecoder"),
        *("RankingModel", "EmbeddingModel"),
    ],
)
def test_unknown_model(name: str, capsys: Any) -> None:
    assert main(["fit", "--model", name]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tmfun fit: error: {MODELS}")
    assert "EASE, " in error
    assert "EmbeddingModel, " not in error
    assert error.endswith(f"(got '{name}')\n")


def test_misspelt_names(capsys: Any) -> None:
    assert main(["fit", "--model", "LightGNC"]) == 2
    end = "(got 'LightGNC'); did you mean LightGCN?\n"
    assert capsys.readouterr().err.endswith(end)
    with pytest.raises(SystemExit) as done:
        main(["recomend"])
    assert done.value.code == 2
    end = "(got 'recomend'); did you mean recommend?\n"
    assert capsys.readouterr().err.endswith(end)


def test_prepare_options(tmp_path: Path, capsys: Any) -> None:
    for name in ("log.csv", "a.npy", "b.npy"):
        (tmp_path / name).touch()
    log, a, b = (str(tmp_path / x) for x in ("log.csv", "a.npy", "b.npy"))
    args = ["prepare", "--log", log, "--out", "out", "--name", "x"]
    for options, message in (
        (
            ["--features.x", a, "--features.x", b],
            "--features.x must be given once",
        ),
        (
            [f"--features.x={a}", "--features.x", b],
            "--features.x must be given once",
        ),
        (
            ["--ratios", "0.8", "0.1", "0.1"],
            "--ratios must be several values with commas between them (got "
            "'0.8')",
        ),
    ):
        assert main([*args, *options]) == 2
        assert message in capsys.readouterr().err


def test_choices(capsys: Any) -> None:
    for args, message in (
        (["--split", "loo"], "--split must be one of random, leave_last_out, "),
        (["--features", "a.npy"], "--features must be given by name, as --fea"),
        ([], "--log, --out, --name must be given"),
    ):
        assert main(["prepare", *args]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"tmfun prepare: error: {message}")
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"userID\titemID\n0\t1\n", "'file', line 1, must be YAML"),
        (b"- 1\n", "'file' must be YAML with options (got a list)"),
        (b"a: 1\nb: [\n", "'file', line 3, must be YAML with options"),
        (b"a\0b", "'file' must be YAML with options"),
        (bytes(range(128, 256)), "'file' must be YAML with options"),
        (None, "'file' must be YAML with options (got a folder)"),
    ],
)
def test_config_of_something_else(
    content: Any, message: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is None:
        Path("file").mkdir()
    else:
        Path("file").write_bytes(content)
    assert main(["fit", "--config", "file"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"tmfun fit: error: {message}"), error
    assert error.count("\n") == 1
    assert len(error) < 100


def test_name_of_no_root(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.ckpt").touch()
    args = ["--ckpt", str(tmp_path / "a.ckpt"), "--name", "x"]
    assert main(["test", *args]) == 1
    assert "error: --name must come with --root\n" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--out", ""], ["--out="]])
def test_out_without_a_name(words: List[str], capsys: Any) -> None:
    assert main(["export", "--ckpt", ".", *words]) == 1
    assert "--out must be a file or folder (got '')" in capsys.readouterr().err


def test_required(capsys: Any) -> None:
    assert main(["test"]) == 2
    assert (
        capsys.readouterr().err == "tmfun test: error: --ckpt must be given\n"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["test", "--ckpt", "no.ckpt"], "--ckpt must exist (got 'no.ckpt')"),
        (["test", "--ckpt=no.ckpt"], "--ckpt must exist (got 'no.ckpt')"),
        (
            ["fit", "--config", "no.yaml"],
            "--config must be an existing file or one of baby, ",
        ),
        (["fit", "--data.root", "no"], "--data.root must exist (got 'no')"),
        (["prepare", "--log", "no.csv"], "--log must exist (got 'no.csv')"),
    ],
)
def test_missing_files(args: List[str], message: str) -> None:
    """Without an import of torch."""
    code = (
        "import sys; from tmfun_pyg.cli.main import main; status = main(); "
        "sys.exit(status if 'torch' not in sys.modules else 'torch')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"tmfun {args[0]}: error: {message}")


def test_names_of_commands(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "\n  fit        train a model\n" in capsys.readouterr().out


def test_closed_pipe(tmp_path: Path) -> None:
    """As in `tmfun report ... | head -1`: no message."""
    code = (
        "import sys, types; from tmfun_pyg.cli import main as cli; "
        "command = types.ModuleType('x'); "
        "command.fit = lambda args: print('x' * 10 ** 6) or 0; "
        "sys.modules['tmfun_pyg.cli.fit'] = command; "
        "sys.exit(cli.main(['fit']))"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.parametrize(
    "words",
    [
        ["--ratios", "0.7,0.2,0.1", "--columns", "a,b", "c"],
        ["--ratios=0.7,0.2,0.1", "--columns", "a,b", "c"],
        ["--ratios", "[0.7, 0.2, 0.1]", "--columns", "a,b", "c"],
    ],
)
def test_lists(words: List[str]) -> None:
    parser = make_parser("prepare", prepare.prepare, prepare.SEVERAL)
    needed = ["--log", "a,b", "--out", "c,d", "--name", "e,f"]
    found = parse_options(parser, [*needed, *words])
    assert found.ratios == (0.7, 0.2, 0.1)
    assert found.columns == ["a,b", "c"]
    assert (str(found.log), found.name) == ("a,b", "e,f")
    assert parse_options(
        fit_parser(), ["--data.modalities", "a,b"]
    ).data.modalities == ["a", "b"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("loud.Model", "'loud.Model' must be a class with a base class"),
        ("loud.Bare", "'loud.Bare' must be a class with a base class"),
        ("this.C", "'this.C' must be a class with a base class"),
        ("nowhere.C", "'nowhere.C' must be a class (found no 'nowhere')"),
        ("pack.nowhere.C", "'pack.nowhere.C' must be a class (found no"),
        ("pack.loud.C", "'pack.loud.C' must be a class with a base class"),
    ],
)
@pytest.mark.parametrize("way", ["option", "config"])
def test_modules_are_not_run_for_a_class_they_lack(
    path: str,
    message: str,
    way: str,
    tmp_path: Path,
    monkeypatch: Any,
    capsys: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("pack").mkdir()
    for name in ("loud.py", "pack/__init__.py", "pack/loud.py"):
        Path(name).write_text("print('RUN')\nclass Bare: pass\n")
    args = ["--model", path]
    if way == "config":
        Path("c.yaml").write_text(f"model:\n  class_path: {path}\n")
        args = ["--config", "c.yaml"]
    assert main(["fit", *args]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_own_model(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_model.py").write_text(
        "from tmfun_pyg.nn import LightGCN\n\n\n"
        "class Own(LightGCN):\n    pass\n\n\nOther = Own\n"
    )
    for name in ("Own", "Other", "LightGCN"):
        path = f"own_model.{name}"
        assert find_files("fit", ["--model", path]) == ["--model", path]
    found = parse_options(fit_parser(), ["--model", "own_model.Own"])
    assert found.model.class_path == "own_model.Own"


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        ("recommend", "'k' must be 1 (got 0)", "--k must be 1 (got 0)"),
        (
            "recommend",
            "'exclude_items' holds what is unknown (got exclude_items)",
            "--exclude_items holds what is unknown (got exclude_items)",
        ),
        (
            "recommend",
            "'users' must be left out beside 'history' (got 'users')",
            "--users must be left out beside --history (got 'users')",
        ),
        ("recommend", "'model' must do", "The model must do"),
        (
            "recommend",
            "no 'features' of 'model'",
            "no --cold_items of the model",
        ),
        (
            "similar",
            "'ids' and 'items' of 'similar_items' of 'model'",
            "--items and --candidates of similar of the model",
        ),
        ("prepare", "'a', column 'items' has", "'a', column 'items' has"),
        ("prepare", "with item_col='sku'", "with --item_col sku"),
        ("recommend", "with time_col=...", "with --time_col ..."),
        ("fit", "`Timer(duration='x')` is bad", "`Timer(duration='x')` is bad"),
        ("fit", "'model' and 'x' (got 3)", "'model' and 'x' (got 3)"),
    ],
)
def test_arguments_of_python(command: str, text: str, expected: str) -> None:
    """Are told as the options that they are in the command."""
    importlib.import_module(f"tmfun_pyg.cli.{command}")
    assert in_options(text, command) == expected


def test_out_of_memory(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--model.channels", str(10**11)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == (
        "tmfun fit: error: out of memory (tried to allocate 745,058.1 GiB): "
        "see Scaling in the documentation"
    )
    assert list(tmp_path.iterdir()) == []


def test_faults_keep_their_traceback(monkeypatch: Any, capsys: Any) -> None:
    """As exhausted memory does with --debug, not in place of an error."""
    error: Exception = RuntimeError("a fault of ours")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("tmfun_pyg.cli.command.run", fail)
    words = ["prepare", "--log", __file__, "--out", "x"]
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main(words)
    error = MemoryError()
    with pytest.raises(MemoryError):
        main([*words, "--debug"])
    error = ValueError("'out of memory.csv' must exist")
    assert main(words) == 1
    assert capsys.readouterr().err == (
        "tmfun prepare: error: 'out of memory.csv' must exist\n"
    )
