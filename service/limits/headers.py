"""What is left of the limits, in the headers that OpenAI's clients read."""

from collections.abc import Sequence

from service.limits.counting import Reading
from service.limits.meters import Kind


def headers_of(readings: Sequence[Reading], *, counted: int) -> dict[str, str]:
    """Of the key's and the end user's limit of a minute, the one of which less is left. `counted`: requests since."""
    headers = {}
    for kind, since in ((Kind.REQUESTS, counted), (Kind.TOKENS, 0)):
        of_kind = [
            (reading.meter.limit - reading.used - since, reading) for reading in readings if reading.meter.kind is kind
        ]
        if of_kind:
            left, reading = min(of_kind, key=lambda pair: pair[0])
            headers[f"x-ratelimit-limit-{kind}"] = str(reading.meter.limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(max(left, 0))
            headers[f"x-ratelimit-reset-{kind}"] = f"{reading.unused_in:.3f}s"
    return headers
