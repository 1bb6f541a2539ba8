"""The gRPC server around a processor: limits, health, reflection, metrics and a drain that ends.

start: SERVING -> stop: NOT_SERVING, no new calls, running calls end
               -> after the grace time: calls that still run are answered with UNAVAILABLE
"""

import asyncio
import ipaddress
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from . import service
from .answers import ConfigError
from .metrics import Meters
from .pictures import opencv
from .processors import AnyProcessor
from .running import Runner

MAX_MESSAGE_BYTES = 8 * 1024 * 1024 + 64 * 1024
"""The largest message a processor takes or gives: a frame as large as Kafka takes here, and what is around it."""
MAX_STREAMS = 1024
"""Calls a connection may have open: far above what a broker keeps in flight for a replica."""
_KEEPALIVE_MS = 10_000
_KEEPALIVE_TIMEOUT_MS = 5_000
_LAST_ANSWERS_S = 1.0
"""After the last call, connections have this long to carry its answer."""
_LOOK_S = 0.01
"""How often a stopping server looks whether calls are running."""

_log = logging.getLogger("framelane_processor")


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files, read once at the start."""

    cert: Path
    """The server's certificate, followed by those between it and its issuer's."""
    key: Path
    """Its key, not encrypted."""
    client_ca: Path | None = None
    """Certificates of those who may sign callers' certificates. None: callers need none."""


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """How to serve. The defaults listen on a free port of localhost."""

    listen: str = "127.0.0.1:0"
    """IP:PORT; port 0 takes a free one: see `Server.address`."""
    tls: Tls | None = None
    name: str | None = None
    """Replaces the processor's own name in results and metrics."""
    metrics: str | None = None
    """IP:PORT of the Prometheus metrics, if they are to be served."""
    threads: int = 0
    """Threads that process; 0: one a core."""
    admission: int = 0
    """Calls waiting or running before more are refused; 0: four a thread, or four batches."""
    grace_s: float = 10.0
    """How long calls may go on after the stop began."""
    notice_s: float = 1.2
    """A stopping server without a call for so long is left by its callers: brokers ask for the health every second."""
    max_pixels: int = 50_000_000
    """Larger pictures are refused before they are decoded."""
    max_message_bytes: int = MAX_MESSAGE_BYTES


class _MetricsServer(Protocol):
    server_port: int

    def shutdown(self) -> None: ...
    def server_close(self) -> None: ...


class Server:
    """Serves a processor from `start` to `stop`. For one event loop."""

    def __init__(self, processor: AnyProcessor, config: ServeConfig | None = None) -> None:
        self.config = config or ServeConfig()
        self.name = self.config.name or processor.settings.name
        self.meters = Meters(self.name)
        self.address = ""
        """Where it listens, once it is started."""
        self.metrics_address = ""
        """Where the metrics are, if they are served."""
        if processor.settings.channels is not None:
            opencv()  # its absence shows at the start, not at the first frame
        threads = _threads(processor, self.config)
        batch = processor.settings.batch
        admission = self.config.admission or 4 * max(threads, batch.size if batch else 1)
        self._runner = Runner(processor, threads, admission, self.config.max_pixels)
        self._service = service.Service(self._runner, self.name, self.meters)
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server(options=_options(self.config, admission))
        self._metrics: _MetricsServer | None = None

    async def start(self) -> None:
        """Takes calls from now on. Raises ConfigError for TLS files that do not do, OSError for an address in use."""
        self._server.add_generic_rpc_handlers([self._service.handlers()])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [service.NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)
        host, port = host_and_port(self.config.listen)
        found = self._bind(host)
        self.address = f"{host}:{found or port}"
        if self.config.metrics is not None:
            self._metrics = _serve_metrics(self.config.metrics, self.meters)
            metrics_host, _ = host_and_port(self.config.metrics)
            self.metrics_address = f"{metrics_host}:{self._metrics.server_port}"
        for name in ("", service.NAME):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    def _bind(self, host: str) -> int:
        listen = self.config.listen
        if self.config.tls is None and not _is_loopback(host):
            _log.warning(
                "calls are taken from other machines at %s, without TLS: whoever reaches this port can send frames, and"
                " frames can be read on the way. Give the server a certificate and a CA for callers, or listen on"
                " 127.0.0.1",
                listen,
            )
        try:
            if self.config.tls is None:
                return self._server.add_insecure_port(listen)
            return self._server.add_secure_port(listen, _credentials(self.config.tls))
        except RuntimeError as cause:
            raise OSError(
                f"cannot listen on {listen}: {cause}; stop what uses that address, or give another one (port 0 takes a"
                " free one)"
            ) from cause

    async def stop(self) -> int:
        """Drains. Returns how many calls still ran at the end of the grace time and were answered with UNAVAILABLE."""
        await self._health.enter_graceful_shutdown()
        ended = 0
        if not await self._is_left(self.config.grace_s):
            ended = self.meters.in_flight
            self._service.end_calls()
        if ended > 0:
            _log.warning(
                "%d calls still ran after the grace time of %g s: answered with UNAVAILABLE", ended, self.config.grace_s
            )
        # Watches of the health never end by themselves: they have this time to carry the last word.
        await self._server.stop(_LAST_ANSWERS_S)
        self._runner.close()
        if self._metrics is not None:
            self._metrics.shutdown()
            self._metrics.server_close()
        return ended

    async def _is_left(self, within_s: float) -> bool:
        """Whether in time there was no call for a while."""
        loop, meters = asyncio.get_running_loop(), self.meters
        quiet_since = loop.time()
        until, seen = quiet_since + within_s, meters.ended
        while meters.in_flight > 0 or loop.time() - quiet_since < self.config.notice_s:
            now = loop.time()
            if now >= until:
                return False
            if meters.in_flight > 0 or meters.ended != seen:
                quiet_since, seen = now, meters.ended
            await asyncio.sleep(_LOOK_S)
        return True


def _threads(processor: AnyProcessor, config: ServeConfig) -> int:
    at_most, wanted = processor.settings.threads, config.threads
    if at_most is None:
        return wanted or os.cpu_count() or 1
    if wanted > at_most:
        raise ConfigError(f"{processor.settings.name} runs on {at_most} threads at most: give no more with --threads")
    return wanted or at_most


def _options(config: ServeConfig, admission: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", config.max_message_bytes),
        # A call beyond the admission is to be refused, not to wait for a free stream.
        ("grpc.max_concurrent_streams", max(MAX_STREAMS, 2 * admission)),
        # A caller whose machine vanished is noticed after the sum of both.
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        # Brokers ask idle connections every 10 s whether they live: gRPC would take that for an attack and hang up.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_MS // 2),
        # Otherwise two servers share a port, and each gets a part of the calls.
        ("grpc.so_reuseport", 0),
    ]


def host_and_port(listen: str) -> tuple[str, int]:
    """The parts of IP:PORT, brackets of IPv6 kept. Raises ConfigError."""
    host, _, port = listen.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError:
        number = -1
    if not 0 <= number <= 65_535:
        raise ConfigError(f"{listen!r} is not IP:PORT, e.g. 127.0.0.1:50051")
    return host, number


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.strip("[]")).is_loopback


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    pair = (_read(tls.key), _read(tls.cert))
    roots = None if tls.client_ca is None else _read(tls.client_ca)
    return grpc.ssl_server_credentials([pair], roots, roots is not None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ConfigError(
            f"{path}: cannot be read ({cause.strerror}): give a PEM file that this user may read"
        ) from cause


def _serve_metrics(listen: str, meters: Meters) -> _MetricsServer:
    host, port = host_and_port(listen)
    try:
        server, _ = start_http_server(port, host.strip("[]"), registry=meters.registry)
    except OSError as cause:
        raise OSError(f"cannot serve metrics on {listen}: {cause}; give another address, or none") from cause
    return server
