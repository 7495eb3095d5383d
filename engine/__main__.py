"""`python -m engine`: the options, read before anything heavy is imported: --help and mistakes answer at once."""

import argparse
import sys

from engine.errors import StartError


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Flags are named as vLLM's where vLLM has them."""
    parser = argparse.ArgumentParser(
        prog="engine", description="Serve a language model and its LoRA adapters in vLLM's HTTP dialect."
    )
    add = parser.add_argument
    add("--model", required=True, help="a Hugging Face folder or id")
    add("--served-model-name", help="the name in requests (default: what --model says)")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8000)
    add("--max-model-len", type=at_least_one, help="prompt and reply together, in tokens (default: the model's)")
    add("--max-num-seqs", type=at_least_one, default=32, help="requests that decode together (default: 32)")
    add("--max-loras", type=at_least_one, default=8, help="adapters that decode together (default: 8)")
    add("--max-cpu-loras", type=at_least_one, default=64, help="adapters that may be loaded (default: 64)")
    add("--max-lora-rank", type=at_least_one, default=16, help="the largest rank served (default: 16)")
    add(
        "--max-num-batched-tokens", type=at_least_one, default=4096, help="prompt tokens of one prefill (default: 4096)"
    )
    add("--max-waiting", type=at_least_one, default=256, help="requests in line before 503 (default: 256)")
    add(
        "--kv-cache-memory-bytes",
        type=at_least_one,
        help="memory for keys and values (default: a third of what is free)",
    )
    add("--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto", help="auto measures once")
    add("--threads", type=at_least_one, help="processor threads for arithmetic (default: torch's)")
    add("--calibration-file", help="where --dtype auto remembers (default: $NOCK_HOME/engine-calibration.json)")
    return parser.parse_args(arguments)


def main() -> int:
    options = read_options()
    from engine.launching import serve

    try:
        serve(options)
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
