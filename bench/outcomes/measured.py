"""What a load measured of itself: how many, how fast, how long each took, and how busy it was."""

import json
import resource
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Measured:
    """Begins when it is made; printed as one line of JSON for whoever started the process."""

    entries_each: int = 1
    latencies: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    cpu_before: float = field(default_factory=lambda: _cpu_seconds())

    def print(self) -> None:
        seconds = time.perf_counter() - self.started
        ordered = sorted(self.latencies)
        told = {
            "entries": len(ordered) * self.entries_each,
            "seconds": seconds,
            "entries_per_second": len(ordered) * self.entries_each / seconds,
            "p50_ms": 1000 * ordered[len(ordered) // 2],
            "p99_ms": 1000 * ordered[len(ordered) * 99 // 100],
            "client_cpu": (_cpu_seconds() - self.cpu_before) / seconds,
        }
        print(json.dumps(told))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
