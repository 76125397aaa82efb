"""Alters checkpoints, features and logs at random. Each has to be read as what
it says, or refused in one line, with nothing half-written:

    python tests/robustness/fuzz.py --rounds 200
"""

import argparse
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Callable, List, Optional

import numpy as np
from bench import CKPT, FIT, PREPARE, call, files_in, write_shop

ODD = [b'"', b"'", b"\x00", b"\xff\xfe", b"\n", b"\r", b",", b"\t", b"nan"]
# The interactions that are kept, repeated and dropped.
ROWS = r"(?:items, |interactions, dropped: )(\d+)(?! without)\b"
ODD += [b"1e400", b"-1", b"\xe2\x80\xa8", b"99999999999999999999", b"#"]


def altered(content: bytes, rng: np.random.Generator) -> bytes:
    """Flips, replaces, inserts, drops or repeats some bytes."""
    kind = rng.integers(7)
    begin = int(rng.integers(len(content)))
    end = min(len(content), begin + int(2 ** rng.integers(12)))
    if kind == 0:
        flipped = content[begin] ^ (1 << int(rng.integers(8)))
        return content[:begin] + bytes([flipped]) + content[begin + 1 :]
    if kind == 1:
        return content[:begin] + rng.bytes(end - begin) + content[end:]
    if kind == 2:
        return content[:begin] + bytes(end - begin) + content[end:]
    if kind == 3:
        return content[:begin]
    if kind == 4:
        return content[:begin] + content[end:]
    if kind == 5:
        return content[:end] + content[begin:end] + content[end:]
    return content[:begin] + ODD[rng.integers(len(ODD))] + content[begin:]


def judge(status: int, error: str, same: Callable[[], Optional[str]]) -> str:
    """Says what is wrong with an answer, if anything."""
    if status == 0:
        return same() or ""
    is_line = re.fullmatch(r"(warning: .*\n)*tmfun \w+: error: .*\n", error)
    return "" if is_line else f"status {status}, {error!r}"


def fuzz(
    path: str, rounds: int, seed: int, turn: Callable[[bytes], str]
) -> List[str]:
    """Alters a file time and again, and returns what went wrong."""
    rng = np.random.default_rng(seed)
    content, wrong = Path(path).read_bytes(), []
    for number in range(rounds):
        other = altered(content, rng)
        Path(path).write_bytes(other)
        try:
            found = turn(other)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        if found:
            wrong.append(f"{path}, round {number}: {found}")
            print(wrong[-1])
    Path(path).write_bytes(content)
    return wrong


def main() -> None:
    """Runs all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    os.environ["TMFUN_CACHE"] = "cache"
    os.chdir(tempfile.mkdtemp())
    write_shop()
    for args in (PREPARE, (*FIT, "--trainer.max_epochs", "1")):
        status, _, error = call(*args)
        assert status == 0, error
    _, right, _ = call("test", *CKPT)
    lists = ("recommend", *CKPT, "--out", "lists.csv")
    assert call(*lists)[0] == 0
    right_lists = Path("lists.csv").read_text()
    before = files_in("run")
    counts = {"refused": 0, "read": 0}

    def count(status: int) -> None:
        counts["refused" if status else "read"] += 1

    def with_checkpoint(_: bytes) -> str:
        status, out, error = call("test", *CKPT)
        found = judge(status, error, lambda: None if out == right else out)
        status, _, error = call(*lists)
        count(status)
        is_right = Path("lists.csv").read_text() == right_lists
        found = found or judge(status, error, lambda: None)
        found = found or ("" if is_right else "other lists")
        return found or ("" if files_in("run") == before else "other files")

    def with_source(content: bytes, is_log: bool) -> str:
        shutil.rmtree("data/shop", ignore_errors=True)
        status, out, error = call(*prepare)
        count(status)

        def same() -> Optional[str]:
            # Each line that is not blank is a row, or is said to be dropped.
            lines = [x for x in content.splitlines()[1:] if x.strip()]
            told = re.findall(ROWS, out)
            is_right = not is_log or len(lines) == sum(map(int, told))
            return None if is_right else f"{len(lines)} lines, {out}"

        left = "" if status == 0 or not os.listdir("data") else "left behind"
        return judge(status, error, same) or left

    wrong = fuzz("run/best.ckpt", rounds, 0, with_checkpoint)
    prepare = PREPARE
    wrong += fuzz("image.npy", rounds, 1, lambda x: with_source(x, False))
    wrong += fuzz("log.csv", rounds, 2, lambda x: with_source(x, True))
    rows = Path("log.csv").read_text().splitlines()[1:]
    head = "user_id:token\titem_id:token"
    lines = [head, *(row.replace(",", "\t") for row in rows), ""]
    Path("log.inter").write_text("\n".join(lines))
    prepare = tuple(x.replace("log.csv", "log.inter") for x in PREPARE)
    wrong += fuzz("log.inter", rounds, 3, lambda x: with_source(x, True))
    print(f"{counts}, {len(wrong)} wrong")
    raise SystemExit(len(wrong) > 0)


if __name__ == "__main__":
    main()
