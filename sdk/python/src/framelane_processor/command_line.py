"""`python my_processor.py --help`: the same options as Framelane's own processors, and the same ends.

Exit codes: 0 stopped, 1 a failure, 2 settings that are wrong.
"""

import argparse
import asyncio
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from .answers import ConfigError
from .processors import AnyProcessor
from .server import ServeConfig, Server, Tls, host_and_port

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_log = logging.getLogger("framelane_processor")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of serving, for programs that have options of their own."""
    add = parser.add_argument
    add(
        "--listen",
        default="127.0.0.1:50051",
        type=_address,
        metavar="IP:PORT",
        help="where to take calls; port 0 takes a free one (default: %(default)s)",
    )
    add("--port-file", type=Path, metavar="FILE", help="write the listening address to this file once calls are taken")
    add("--metrics", type=_address, metavar="IP:PORT", help="serve Prometheus metrics at this address")
    add("--name", help="the name in results and metrics, if not the processor's own")
    add("--threads", type=_positive, default=0, metavar="N", help="threads that process; by default one a core")
    add(
        "--admission",
        type=_positive,
        default=0,
        metavar="N",
        help="calls waiting or running before more are answered with RESOURCE_EXHAUSTED; by default 4 a thread, or 4"
        " batches",
    )
    add(
        "--grace",
        type=_duration,
        default=10.0,
        metavar="TIME",
        help="how long running calls may go on after SIGTERM (default: 10s)",
    )
    add(
        "--max-megapixels",
        type=_positive,
        default=50,
        metavar="N",
        help="refuse larger pictures before decoding them (default: %(default)s)",
    )
    add(
        "--tls-cert",
        type=Path,
        metavar="FILE",
        default=_from_environment("FRAMELANE_TLS_CERT"),
        help="take calls by TLS only, as the server of this certificate (PEM)",
    )
    add(
        "--tls-key",
        type=Path,
        metavar="FILE",
        default=_from_environment("FRAMELANE_TLS_KEY"),
        help="the key (PEM, not encrypted) of --tls-cert",
    )
    add(
        "--tls-client-ca",
        type=Path,
        metavar="FILE",
        default=_from_environment("FRAMELANE_TLS_CLIENT_CA"),
        help="take calls only from those whose certificate is signed by one of these (PEM)",
    )


def config_from(options: argparse.Namespace) -> ServeConfig:
    """The settings that the options of `add_arguments` make. Raises ConfigError if they do not fit together."""
    return ServeConfig(
        listen=options.listen,
        tls=_tls(options.tls_cert, options.tls_key, options.tls_client_ca),
        name=options.name,
        metrics=options.metrics,
        threads=options.threads,
        admission=options.admission,
        grace_s=options.grace,
        max_pixels=options.max_megapixels * 1_000_000,
    )


def main(processor: AnyProcessor, argv: Sequence[str] | None = None) -> None:
    """Serves a processor by the command line. Ends the process."""
    parser = argparse.ArgumentParser(
        description=processor.__doc__, epilog="Exit codes: 0 stopped, 1 failure, 2 wrong settings."
    )
    add_arguments(parser)
    options = parser.parse_args(argv)
    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "INFO").upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        config = config_from(options)
        asyncio.run(run(processor, config, options.port_file))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


async def run(processor: AnyProcessor, config: ServeConfig, port_file: Path | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once."""
    stopping = asyncio.Event()
    server = Server(processor, config)
    _on_signal(asyncio.get_running_loop(), stopping.set)
    await server.start()
    _log.info("%s: listening on %s", server.name, server.address)
    if port_file is not None:
        _write_whole(port_file, server.address)
    status = asyncio.ensure_future(_status_line(server))
    await stopping.wait()
    _log.info("stopping; a second signal ends the process at once")
    status.cancel()
    ended = await server.stop()
    _log.info("stopped; ended calls: %d", ended)


def _on_signal(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    def first(_: int, __: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop)

    # Not the loop's own handlers: these run even while a function keeps the loop busy.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, first)


async def _status_line(server: Server) -> None:
    """One line a second for the person who watches."""
    loop = asyncio.get_running_loop()
    seen, last = 0, loop.time()
    while True:
        await asyncio.sleep(1)
        meters, now = server.meters, loop.time()
        fps = (meters.frames - seen) / (now - last)
        line = f"{server.name}: {fps:.1f} fps, {meters.in_flight} in flight, {meters.frames} ok, {meters.not_ok} not ok"
        print(line, file=sys.stderr, flush=True)
        seen, last = meters.frames, now


def _write_whole(path: Path, text: str) -> None:
    """Who sees the file sees all of it."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError as cause:
        raise OSError(f"cannot write the port file {path}: {cause}; give one in a folder that exists") from cause


def _tls(cert: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    if cert is not None and key is not None:
        return Tls(cert, key, client_ca)
    if cert is not None or key is not None:
        raise ConfigError("--tls-cert and --tls-key belong together: give both")
    if client_ca is not None:
        raise ConfigError("--tls-client-ca protects nothing without TLS: give --tls-cert and --tls-key too")
    return None


def _from_environment(name: str) -> Path | None:
    return Path(os.environ[name]) if os.environ.get(name) else None


def _address(text: str) -> str:
    try:
        host_and_port(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write 500ms, 10s or 1m")
    return float(match[1]) * _UNITS_S[match[2]]
