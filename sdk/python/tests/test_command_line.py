"""A processor as a program: start, port file, calls, signals, exit codes."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from calls import PATIENCE_S, raw

from framelane.v1 import processor_pb2 as rpc

PROGRAM = """
import time
from framelane_processor import Image, processor

@processor(name="slow", threads=2)
def slow(image: Image) -> None:
    \"\"\"Waits.\"\"\"
    time.sleep(float(image[0, 0, 0]) / 100)

slow.serve()
"""


def run(program: Path, *options: str) -> tuple[int, str]:
    words = [sys.executable, str(program), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "slow.py"
    path.write_text(PROGRAM)
    return path


@contextmanager
def started(program: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port_file = program.with_suffix(".port")
    words = [sys.executable, str(program), "--listen", "127.0.0.1:0", "--port-file", str(port_file), *options]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + PATIENCE_S
        while not port_file.exists():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < until, "no port file"
            time.sleep(0.01)
        yield child, port_file.read_text()
    finally:
        child.kill()
        child.communicate()


def begin(channel: grpc.Channel, hundredths_of_s: int) -> "grpc.Future[rpc.ProcessResponse]":
    process = channel.unary_unary(
        "/framelane.v1.Processor/Process", rpc.ProcessRequest.SerializeToString, rpc.ProcessResponse.FromString
    )
    request = rpc.ProcessRequest(frame=raw(hundredths_of_s))
    return process.future(request, timeout=PATIENCE_S, wait_for_ready=True)


def test_a_signal_lets_running_calls_end_and_the_program_stops_well(program: Path) -> None:
    with started(program) as (child, address), grpc.insecure_channel(address) as channel:
        begin(channel, 0).result()
        running = begin(channel, 150)
        while "1 in flight" not in (line := child.stderr.readline() if child.stderr else ""):
            assert line, "it ended"
        child.send_signal(signal.SIGTERM)
        assert running.result().result.processor == "slow"
        _, said = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 0, said
        assert "stopped; ended calls: 0" in said


def test_work_that_never_ends_does_not_hold_up_the_stop(program: Path) -> None:
    program.write_text(PROGRAM.replace("time.sleep(float(image[0, 0, 0]) / 100)", "time.sleep(3600)"))
    with started(program, "--grace", "50ms") as (child, address), grpc.insecure_channel(address) as channel:
        hanging = begin(channel, 0)
        while "1 in flight" not in (line := child.stderr.readline() if child.stderr else ""):
            assert line, "it ended"
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 0, said
        error = hanging.exception()
        assert isinstance(error, grpc.RpcError)
        assert error.code() == grpc.StatusCode.UNAVAILABLE


def test_help_names_the_options_and_what_the_function_does(program: Path) -> None:
    code, text = run(program, "--help")
    assert code == 0
    assert "Waits." in text
    assert "--max-megapixels" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--listen localhost", "IP:PORT"),
        ("--grace soon", "is not a time"),
        ("--threads 0", "not a number from 1"),
        ("--threads 3", "2 threads at most"),
        ("--tls-cert cert.pem", "belong together"),
        ("--tls-client-ca ca.pem", "protects nothing"),
        ("--tls-cert /nowhere/c.pem --tls-key /nowhere/k.pem", "/nowhere/k.pem: cannot be read"),
        ("--no-such-option", "unrecognized arguments"),
    ],
)
def test_settings_that_cannot_be_end_with_2_and_say_why(program: Path, options: str, words: str) -> None:
    code, text = run(program, "--port-file", "/dev/null/x", *options.split())
    assert (code, words in text) == (2, True), text


def test_what_fails_at_the_start_ends_with_1(program: Path) -> None:
    code, text = run(program, "--listen", "127.0.0.1:0", "--port-file", "/nowhere/port")
    assert code == 1, text
    assert "give one in a folder that exists" in text
