import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def test_first_code_example_runs_as_printed(capsys):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    exec(compile(code, "README.md", "exec"), {})
    # Behind the progress bar of the trainer:
    recall, ids = re.search(
        r"(0\.\d+)\n\[\[([\d\s,\[\]]+)\]\]\s*$", capsys.readouterr().out
    ).groups()
    assert float(recall) > 0.0646  # Of most-popular.
    assert len(re.findall(r"\d+", ids)) == 2 * 10


def test_commands_are_those_of_ci():
    commands = [
        "pip install -c constraints.txt -e . && python examples/train_tmfun.py",
        'pip install -c constraints.txt -e ".[test]" '
        "&& pytest -n 2 --dist loadfile",
    ]
    for command in commands:
        assert f"```bash\n{command}\n```" in README


def test_is_short():
    assert len(README.splitlines()) < 100
