"""Counts of the calls: for Prometheus under the names that every processor has, and for the line a second."""

import threading

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a call that only copies to one that ran into every common deadline.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 5.0, 30.0)


class Meters:
    """What a server did so far. Numbers only grow, except `in_flight`."""

    def __init__(self, name: str) -> None:
        self.registry = CollectorRegistry()
        self._name = name
        self._calls = Counter(
            "framelane_processor_calls", "Calls ended, by outcome", ["processor", "outcome"], registry=self.registry
        )
        self._seconds = Histogram(
            "framelane_processor_call_seconds",
            "From receiving a call to its answer",
            ["processor"],
            buckets=_SECONDS,
            registry=self.registry,
        ).labels(name)
        self._in_flight = Gauge(
            "framelane_processor_in_flight", "Calls running now", ["processor"], registry=self.registry
        ).labels(name)
        self._lock = threading.Lock()
        self.ok = 0
        """Calls answered with OK."""
        self.frames = 0
        """Frames of the calls answered with OK: a batch is one call."""
        self.not_ok = 0
        """Calls answered with another status, and calls that the caller gave up."""
        self.in_flight = 0
        """Calls running now."""

    @property
    def ended(self) -> int:
        """Calls that are over."""
        return self.ok + self.not_ok

    def begin(self) -> None:
        """A call has come."""
        with self._lock:
            self.in_flight += 1
        self._in_flight.inc()

    def end(self, outcome: str, seconds: float, frames: int) -> None:
        """It is over: ok, invalid, busy, failed, unavailable or abandoned."""
        with self._lock:
            self.in_flight -= 1
            if outcome == "ok":
                self.ok += 1
                self.frames += frames
            else:
                self.not_ok += 1
        self._in_flight.dec()
        self._seconds.observe(seconds)
        self._calls.labels(self._name, outcome).inc()
