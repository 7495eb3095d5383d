"""The token-level policy: a causal language model with one trainable LoRA; knows tokens, no rewards and no training."""

import inspect
import json
from pathlib import Path

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from worker.archer.adapters import adapter_parameters, add_adapter, copy_adapter, using
from worker.archer.config import ArcherConfig
from worker.archer.layers import recompute_layers
from worker.archer.types import TokenBatch

ADAPTER = "default"
REFERENCE = "reference"


class ActorError(ValueError):
    """The model or the adapter cannot be trained as given; the message says why and what would do."""


def token_logprobs(
    logits: Float[Tensor, "tokens vocab"], targets: Int[Tensor, "tokens"], temperature: Float[Tensor, "tokens"]
) -> Float[Tensor, "tokens"]:
    """log π of each target token, of the distribution that was sampled from.

        log π(aₜ) = zₜ[aₜ]/T - log Σ_v exp(zₜ[v]/T)

    In float32 at least and as one log-softmax, so that an unlikely token is -50 and not -∞.
    """
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature.unsqueeze(-1)
    return -functional.cross_entropy(scaled, targets, reduction="none").float()


class Actor:
    """A base model that stays as it is, and the LoRA that learns."""

    def __init__(self, model: PeftModel) -> None:
        # eval: a model with dropout would be trained as another distribution than the one that was sampled.
        self.model: PeftModel = model.eval()
        self.vocabulary: int = model.get_output_embeddings().weight.shape[0]

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        config: ArcherConfig,
        *,
        adapter: str | Path | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> "Actor":
        """A fresh LoRA on every linear layer of the model, or the one in the folder `adapter` to go on from."""
        try:
            base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        except (OSError, ValueError) as error:
            raise ActorError(f"{model} is not a causal language model that transformers can load: {error}") from error
        if "logits_to_keep" not in inspect.signature(base.forward).parameters:
            raise ActorError(
                f"{type(base).__name__} has no logits_to_keep, so every prompt token would cost a vocabulary."
            )
        if config.gradient_checkpointing:
            recompute_layers(base)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            adapted = cls._fresh(base, config) if adapter is None else cls._continued(base, Path(adapter))
        return cls(adapted.to(device))

    @staticmethod
    def _fresh(base: nn.Module, config: ArcherConfig) -> PeftModel:
        # B starts at zero: the adapter equals the base until its first step, and the gradient reaches B through A.
        lora = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            target_modules="all-linear",
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in base.modules()),  # GPT-2 stores them transposed
            task_type="CAUSAL_LM",
        )
        return get_peft_model(base, lora)

    @staticmethod
    def _continued(base: nn.Module, folder: Path) -> PeftModel:
        if not (folder / "adapter_config.json").is_file():
            raise ActorError(f"{folder} holds no adapter_config.json: it is not a peft LoRA.")
        try:
            return PeftModel.from_pretrained(base, folder, is_trainable=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ActorError(f"The adapter in {folder} does not fit the model: {error}") from error

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def parameters(self) -> list[nn.Parameter]:
        """What is trained: the LoRA and nothing of the base."""
        return list(adapter_parameters(self.model, ADAPTER).values())

    def logits(self, batch: TokenBatch) -> Float[Tensor, "tokens vocab"]:
        """Logits of the trained tokens of a micro-batch, flat; the vocabulary is computed at these positions only.

        No attention mask: padding lies on the right, where a causal model never looks from a real token.
        """
        logits: Tensor = self.model(input_ids=batch.ids, logits_to_keep=batch.predicts, use_cache=False).logits
        return logits.flatten(0, 1) if logits.dim() == 3 else logits

    @torch.no_grad()
    def remember(self) -> None:
        """Keep the policy as it is now as the one that `reference_logits` speaks for."""
        if REFERENCE not in self.model.peft_config:
            add_adapter(self.model, REFERENCE, like=ADAPTER)
        copy_adapter(self.model, ADAPTER, REFERENCE)

    @torch.no_grad()
    def reference_logits(self, batch: TokenBatch) -> Float[Tensor, "tokens vocab"]:
        """The same logits as the policy had when `remember` was called."""
        with using(self.model, REFERENCE):
            return self.logits(batch)

    def end_tokens(self) -> list[int]:
        """The tokens that end an utterance."""
        ends = self.model.get_base_model().generation_config.eos_token_id
        if ends is None:
            raise ActorError("The model names no end token (generation_config.eos_token_id): its replies never end.")
        return [ends] if isinstance(ends, int) else list(ends)

    def logprobs(self, batch: TokenBatch, temperature: Float[Tensor, "tokens"]) -> Float[Tensor, "tokens"]:
        """log π of the trained tokens of a micro-batch, flat."""
        return token_logprobs(self.logits(batch), batch.targets, temperature)

    def check_vocabulary(self, ids: tuple[int, ...]) -> None:
        """Refuse token ids that the model does not have: they came from another model."""
        if ids and not 0 <= min(ids) <= max(ids) < self.vocabulary:
            raise ActorError(
                f"Token {max(ids)} is outside the model's {self.vocabulary}: the turn was spoken by another model."
            )

    def load_adapter_state(self, state: dict[str, Tensor]) -> None:
        """Put weights that adapter_state gave back in place."""
        set_peft_model_state_dict(self.model, {name: weight.to(self.device) for name, weight in state.items()})

    def adapter_state(self) -> dict[str, Tensor]:
        """The adapter's weights under the names that peft and vLLM read."""
        # No embedding is trained; left to itself peft asks a model hub whether one was.
        state = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {name: weight.detach().clone() for name, weight in state.items()}

    def save_adapter(self, folder: Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors: no machine's path, always the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        lora = self.model.peft_config[ADAPTER]
        described = {key: value for key, value in lora.to_dict().items() if key != "runtime_config"}
        described |= {"base_model_name_or_path": None, "inference_mode": True}
        weights = {name: weight.cpu().contiguous() for name, weight in self.adapter_state().items()}
        save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(
            json.dumps(described, indent=2, sort_keys=True, default=_as_list) + "\n"
        )


def _as_list(value: object) -> object:
    if isinstance(value, set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
