"""The messages that are checked in are those of the repository's .proto files."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from generate import FILES, generate  # noqa: E402


def test_the_generated_messages_are_current(tmp_path: Path) -> None:
    generate(tmp_path)
    for file in FILES:
        for end in ("_pb2.py", "_pb2.pyi"):
            name = file.replace(".proto", end)
            now, here = (folder / name for folder in (tmp_path, HERE / "src"))
            assert here.read_text() == now.read_text(), f"{name} is not current: run `python sdk/python/generate.py`"
