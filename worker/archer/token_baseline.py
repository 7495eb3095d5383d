"""What an utterance's first tokens already promise of its advantage: fitted for each update, subtracted a token."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.advantages import token_advantages
from worker.archer.config import ArcherConfig
from worker.archer.descent import descend
from worker.archer.heads import ValueHead
from worker.archer.losses import token_baseline_loss
from worker.archer.rows import Row, micro_batches
from worker.archer.token_reader import TokenReader

FIT_STEPS = 100


def subtract_baseline(
    reader: TokenReader,
    rows: Sequence[Row],
    advantage: Float[Tensor, "tokens"],
    config: ArcherConfig,
    generator: torch.Generator,
) -> Float[Tensor, "tokens"]:
    """A(s,a) - Vtok(s, a_<t) of each token of the rows, `advantage` being the utterance's on each of its tokens.

    Vtok is a head over what the critic's reader holds before the token. It is not kept: it is the baseline of these
    utterances under this policy. Zhou et al. 2024, the optional token-level baseline.
    """
    features = _features(reader, rows, len(advantage))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        head = ValueHead(features.shape[1], config.critic_hidden, 1).to(features.device)
    head.standardise(features)
    optimiser = torch.optim.AdamW(head.parameters(), lr=config.critic_lr, weight_decay=config.critic_weight_decay)
    for _ in range(FIT_STEPS):
        some = torch.randint(len(features), (config.critic_batch_turns,), generator=generator).to(features.device)
        loss = token_baseline_loss(head(features[some]).squeeze(-1), advantage[some]).mean()
        descend(optimiser, [loss], config.max_grad_norm, whose="token baseline", episodes=["all"])
    with torch.no_grad():
        return token_advantages(advantage, head(features).squeeze(-1))


@torch.no_grad()
def _features(reader: TokenReader, rows: Sequence[Row], tokens: int) -> Float[Tensor, "tokens width"]:
    """The reader's hidden state at the token before each trained one."""
    features = torch.zeros(tokens, reader.state_width, device=reader.model.device)
    with reader.active():
        for together in micro_batches(rows, reader.config.max_tokens_per_microbatch):
            hidden = reader.hidden([row.ids for row in together])
            for row, states in zip(together, hidden, strict=True):
                for span in row.spans:
                    length = span.end - span.start
                    features[span.table : span.table + length] = states[span.start - 1 : span.end - 1]
    return features
