"""Tests with other versions: nox -s tests-3.12, or nox -s oldest. Those of
loggers and of sharded tables, with packages beside the versions in
constraints.txt: nox -s loggers, nox -s sharded.
"""

import nox

nox.needs_version = ">=2025.2.9"
PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Runs the tests with the versions in constraints.txt."""
    run_tests(session, "constraints.txt")


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """Runs the tests with the oldest torch and torch_geometric."""
    run_tests(session, "constraints-oldest.txt")


@nox.session(python=PYTHONS[1])
def loggers(session: nox.Session) -> None:
    """Runs the tests of TensorBoard and MLflow, which asks for other versions
    than the documentation does.
    """
    session.install("-c", "constraints.txt", "-e", ".[test]")
    session.install("tensorboard", "mlflow")
    session.run("pytest", "tests/cli/test_loggers.py", *session.posargs)


@nox.session(python=PYTHONS[1])
def sharded(session: nox.Session) -> None:
    """Runs the tests of tables divided among processes, on the CPU."""
    session.install("-c", "constraints.txt", "-e", ".[test]")
    packages = ["torchrec==1.8.0", "fbgemm-gpu-cpu==1.8.0"]
    session.install("--no-deps", *packages)  # It names fbgemm's CUDA build.
    session.install("-c", "constraints.txt", "tensordict", "pyre-extensions")
    test = "tests/training/test_sharded_embedding.py"
    session.run("pytest", test, *session.posargs)


def run_tests(session: nox.Session, constraints: str) -> None:
    """Runs the tests.

    Args:
        session: The session, whose further arguments are those of pytest.
        constraints: The file of versions.
    """
    session.install("-c", constraints, "-e", ".[test]")
    session.run("pytest", "-n", "2", "--dist", "loadfile", *session.posargs)
