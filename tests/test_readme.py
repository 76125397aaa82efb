import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def test_first_code_example_runs_as_printed(capsys):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    exec(compile(code, "README.md", "exec"), {})
    recall, items = capsys.readouterr().out.strip().split("\n", 1)
    assert float(recall) > 0.056  # Of most-popular.
    assert len(items.strip("[]").split()) == 10


def test_commands_are_those_of_ci():
    commands = [
        "pip install -c constraints.txt -e . && "
        "python examples/train_tmfun.py",
        'pip install -c constraints.txt -e ".[test]" && pytest',
    ]
    for command in commands:
        assert f"```bash\n{command}\n```" in README
