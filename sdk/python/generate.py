"""Generates src/framelane from the .proto files of the repository: `python generate.py [FOLDER]`.

The files are checked in, so that the package installs without a compiler and without the repository around it;
tests/test_stubs.py fails when they are not what this script makes.
"""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTOS = HERE.parent.parent / "processor-proto" / "proto"
FILES = ["framelane/v1/frame.proto", "framelane/v1/processor.proto"]


def generate(into: Path) -> None:
    """Writes the messages' modules and their types below `into`. Raises RuntimeError if protoc refuses the files."""
    well_known = str(files("grpc_tools") / "_proto")
    words = ["protoc", f"-I{PROTOS}", f"-I{well_known}", f"--python_out={into}", f"--pyi_out={into}", *FILES]
    code = protoc.main(words)
    if code != 0:
        raise RuntimeError(f"protoc ended with {code} for {PROTOS}; what is wrong stands above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "src")
