"""What a learner is told about its machine; what is learned stands in the agent and in ArcherConfig."""

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from core.settings import Settings

LEAST_SECRET = 32


class LearnerSettings(Settings):
    """The process that turns conversations into adapters."""

    model: str = ""
    """Base model that this learner trains on: a folder, or a Hugging Face id. Engines must serve the same one."""

    critic_encoder: str = ""
    """Encoder of critics that have one: a folder or a Hugging Face id; empty takes the packaged all-MiniLM-L6-v2."""

    learner_device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` …; `auto` takes a GPU where there is one."""

    learner_threads: int | None = Field(default=None, ge=1)
    """Processor threads of a step: more is faster and leaves less to an engine beside it; unset is torch's choice."""

    learner_lease_seconds: float = Field(default=60.0, gt=0)
    """How long a run, or an evaluation, stays its worker's without a sign of life: longer forgives stalls, and
    repairs a crash later."""

    learner_max_attempts: int = Field(default=3, ge=1)
    """How often a run, or an evaluation, is started before it counts as failed: more survives more crashes."""

    @property
    def served_name(self) -> str:
        """What engines call the base model: the folder's last part, or the id as it is."""
        folder = Path(self.model)
        return folder.resolve().name if self.model and folder.is_dir() else self.model


class WebhookSettings(Settings):
    """Who is told what happened to versions."""

    webhook_url: str = Field(default="", pattern="^(https?://.+)?$")
    """Where verdicts, stages, promotions and rollbacks are posted to; empty tells nobody."""

    webhook_secret: SecretStr | None = None
    """What each message is signed with; needed where there is a webhook."""

    @model_validator(mode="after")
    def signs_what_it_sends(self) -> "WebhookSettings":
        secret = "" if self.webhook_secret is None else self.webhook_secret.get_secret_value()
        if self.webhook_url and len(secret) < LEAST_SECRET:
            raise ValueError(f"NOCK_WEBHOOK_URL needs a NOCK_WEBHOOK_SECRET of {LEAST_SECRET} characters or more")
        return self


class BeatSettings(Settings):
    """How often the background looks whether there is something to do."""

    learning_tick_seconds: float = Field(default=2.0, gt=0)
    """Longest wait of a queued run, evaluation or suite for a worker: shorter starts sooner and asks Postgres more."""

    idle_tick_seconds: float = Field(default=10.0, gt=0)
    """How late an idle conversation may be ended."""

    settle_tick_seconds: float = Field(default=10.0, gt=0)
    """How late an outcome may mature or expire whose window has passed, and how soon changed metrics are followed."""

    reconcile_tick_seconds: float = Field(default=5.0, gt=0)
    """How long an engine may lack an adapter after its restart, or hold one that nobody needs."""

    canary_tick_seconds: float = Field(default=10.0, gt=0)
    """How late a trial of a version may begin, enter its next stage, or end."""

    webhook_tick_seconds: float = Field(default=5.0, gt=0)
    """How late the webhook may hear of a verdict."""

    dead_letter_days: float = Field(default=30.0, gt=0)
    """How long feedback that could not be joined is kept."""

    changed_share_limit: float = Field(default=0.1, ge=0, le=1)
    """The log warns of a version once more than this share of what taught it has another reward by now, or none."""
