"""ArCHer, in any configuration, learning online: the newest conversations and some older ones an update."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel

from bench.methods.method import Figures
from bench.methods.replaying import ReplayingMethod
from bench.playing.games import Played
from bench.playing.transitions import transitions_of
from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.critic import build_critic
from worker.archer.learner import Learner
from worker.archer.spoken import read_spoken
from worker.archer.types import Transition
from worker.training import user_prompt_of


class Archer(ReplayingMethod):
    """`replay` conversations are kept, the newest; each update reads all of them.

    `foresees` has the critic read a reply where its answer begins; without, at its last token. `staleness` keeps the
    newest conversations back for so many updates, as a service does whose outcomes come late; without `is_weighted`
    what an older policy said is taken for the policy's own.
    """

    def __init__(
        self,
        policy: Path,
        config: ArcherConfig,
        *,
        per_step: int,
        replay: int,
        seed: int,
        cut_is_end: bool = False,
        paid_at_end: bool = False,
        foresees: bool = True,
        staleness: int = 0,
        is_weighted: bool = True,
    ) -> None:
        actor = Actor.from_pretrained(policy, config, seed=seed)
        user_prompt = user_prompt_of(AutoTokenizer.from_pretrained(policy)) if foresees else ()
        critic = build_critic(actor, None, config, user_prompt=user_prompt, seed=seed)
        super().__init__(Learner(actor, critic, config, seed=seed), per_step)
        self.replay = replay
        self.told = {"cut_is_end": cut_is_end, "paid_at_end": paid_at_end}
        self.held_back = staleness * per_step
        self.is_weighted = is_weighted

    @property
    def player(self) -> PreTrainedModel:
        """The actor's model."""
        model: PreTrainedModel = self.actor.model
        return model

    def learn(self, played: Sequence[Played]) -> Figures:
        """One update; the conversations just played are the policy's own, the others are older."""
        self.kept = [*self.kept, *played][-self.replay - self.held_back :]
        newest = {game.seed for game in played}
        turns = [
            turn
            for game in self.kept[: max(0, len(self.kept) - self.held_back)]
            for turn in transitions_of(game, on_policy=game.seed in newest, **self.told)
        ]
        if not turns:
            return {"skipped": "what was played is held back"}
        if not self.is_weighted:
            turns = self._as_if_own(turns)
        figures = self.learner.update(turns)
        critic, actor = figures.critic, figures.actor
        return {
            "skipped": figures.actor_skipped,
            "leapt": figures.actor_leapt,
            "kl": actor.kl_to_start if actor else 0.0,
            "steps": actor.steps_kept if actor else 0,
            "ess_share": actor.effective_sample_size / figures.actor_turns if actor else None,
            "explained_variance": critic.held_out_explained_variance,
            "rank_correlation": critic.rank_correlation,
            "advantage_sd": critic.advantage_sd,
            "advantage_positive_share": critic.advantage_positive_share,
            "advantage_spread": critic.advantage_spread,
            "twin_gap": critic.twin_gap,
            "mean_trace_length": critic.mean_trace_length,
            **{f"seconds: {phase}": seconds for phase, seconds in figures.seconds.items()},
        }

    def _as_if_own(self, turns: list[Transition]) -> list[Transition]:
        """The turns as likely as the policy finds them now, so that no weight or trace tells who said them."""
        start = iter(read_spoken(self.actor, turns, self.learner.config).start.tolist())
        return [
            replace(turn, behaviour_logprobs=tuple(islice(start, len(turn.completion_ids))), on_policy=True)
            for turn in turns
        ]
