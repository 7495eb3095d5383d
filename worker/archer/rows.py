"""From turns to rows of token ids and to micro-batches: which share a row, what is cut, what goes together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from worker.archer.types import TokenBatch, TokenTable, Transition


@dataclass(frozen=True, slots=True)
class Span:
    """The completion of one turn inside a row."""

    start: int
    end: int
    table: int
    """Where its tokens begin in the TokenTable."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence of the actor and the completions in it that are trained."""

    ids: tuple[int, ...]
    spans: tuple[Span, ...]


def build_rows(transitions: Sequence[Transition], max_prompt_tokens: int) -> list[Row]:
    """One row for each run of turns whose prompts grow from one another token by token, else one for each turn.

    A causal model gives the same log-probs either way, and the shared prompt is computed once. Prompts are cut on the
    left; a reply never is.
    """
    rows: list[Row] = []
    table = 0
    for transition in transitions:
        if not transition.trains_actor:
            continue
        prompt = transition.prompt_ids[-max_prompt_tokens:]
        row = Row(prompt + transition.completion_ids, ())
        if rows and prompt[: len(rows[-1].ids)] == rows[-1].ids:
            row = Row(row.ids, rows.pop().spans)
        span = Span(len(prompt), len(row.ids), table)
        rows.append(Row(row.ids, (*row.spans, span)))
        table += len(transition.completion_ids)
    return rows


def build_table(transitions: Sequence[Transition], device: torch.device) -> TokenTable:
    """Every completion token that trains the actor, in the order of the turns; `turn` counts all turns given."""
    actor_turns = [(place, turn) for place, turn in enumerate(transitions) if turn.trains_actor]
    return TokenTable(
        turn=torch.tensor([place for place, turn in actor_turns for _ in turn.completion_ids], dtype=torch.long).to(
            device
        ),
        temperature=torch.tensor([turn.temperature for _, turn in actor_turns for _ in turn.completion_ids]).to(device),
        behaviour_logprobs=torch.tensor([x for _, turn in actor_turns for x in turn.behaviour_logprobs]).to(device),
        weight=torch.tensor([turn.weight for _, turn in actor_turns for _ in turn.completion_ids]).to(device),
    )


def micro_batches(rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
    """Rows of like length together, at most `max_tokens` with padding; a longer row goes alone.

    The longest come first: if memory does not suffice, it fails at once and not at the end.
    """
    batches: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: len(row.ids), reverse=True):
        if batches and len(batches[-1][0].ids) * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def actor_batches(rows: Sequence[Row], turns: int, generator: torch.Generator) -> list[list[Row]]:
    """The rows of each optimiser step of one pass: all while they hold at most `turns` turns, else by lot."""
    if sum(len(row.spans) for row in rows) <= turns:
        return [list(rows)]
    batches: list[list[Row]] = [[]]
    for place in torch.randperm(len(rows), generator=generator).tolist():
        if sum(len(row.spans) for row in batches[-1]) >= turns:
            batches.append([])
        batches[-1].append(rows[place])
    return batches


def spread(rows: Sequence[Row], shares: int, generator: torch.Generator) -> list[list[Row]]:
    """The rows in so many shares, as equal as can be: as they come where there is one share, else by lot."""
    order = list(range(len(rows))) if shares == 1 else torch.randperm(len(rows), generator=generator).tolist()
    return [[rows[place] for place in order[share::shares]] for share in range(shares)]


def collate(rows: Sequence[Row], device: torch.device) -> TokenBatch:
    """Rows padded on the right: prompt and completion stay adjacent, and a causal model never looks at what follows."""
    ids = pad_sequence([torch.tensor(row.ids) for row in rows], batch_first=True)
    predicts = torch.zeros_like(ids, dtype=torch.bool)
    targets: list[int] = []
    table: list[int] = []
    for place, row in enumerate(rows):
        for span in row.spans:
            predicts[place, span.start - 1 : span.end - 1] = True  # the logits at t are of token t + 1
            targets.extend(row.ids[span.start : span.end])
            table.extend(range(span.table, span.table + span.end - span.start))
    return TokenBatch(
        ids.to(device), predicts.to(device), torch.tensor(targets).to(device), torch.tensor(table).to(device)
    )
