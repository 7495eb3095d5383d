"""TensorZero's gateway out of its wheel, as a process of the Python that has the wheel: it imports nothing of ours.

The wheel starts it on a port of its own choosing, which goes into a file.
"""

import argparse
import threading
from pathlib import Path

import tensorzero


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--postgres", help="as sqlx reads it; without it nothing is kept")
    parser.add_argument("--address", type=Path, required=True, help="file to write the gateway's address to")
    given = parser.parse_args()
    gateway = tensorzero._start_http_gateway(  # the public way to it takes no Postgres
        config_file=given.config,
        clickhouse_url=None,
        postgres_url=given.postgres,
        valkey_url=None,
        async_setup=False,
    )
    given.address.write_text(gateway.base_url)
    threading.Event().wait()


if __name__ == "__main__":
    main()
