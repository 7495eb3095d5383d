"""How a customer takes what the agent says: the rules that the game and the optimum share."""

from dataclasses import dataclass

from sim.support.needs import Need, questions, remedies

SORRY, ESCALATE, REFUND = "i am sorry .", "escalate .", "refund ."
MAX_TURNS = 12
PATIENCE = (3, 4, 5, 6)
"""What a customer can bear; each as likely as the others."""
RESOLVED, A_TURN_LESS, ESCALATED, REFUNDED = 1.0, 0.05, 0.4, 0.3
"""Reward of the right remedy, what each turn before it takes away; of handing over; of money where that is no help."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """What the customer says, how much patience that took, and the reward where it ended the conversation."""

    message: str
    bother: int
    reward: float | None = None


def react(need: Need, said: str, turns: int) -> Reaction:
    """The customer's reaction to what is said after so many turns, as long as her patience lasts."""
    if said == need.remedy:
        return Reaction("thank you , that helps .", 0, RESOLVED - A_TURN_LESS * turns)
    if said == ESCALATE:
        return Reaction("then i will wait .", 0, ESCALATED)
    if said == REFUND:
        return Reaction("all right , i take the money .", 0, REFUNDED)
    if said == SORRY:
        return Reaction("all right .", -1)
    if said in need.answers:
        return Reaction(need.answers[said], 1)
    if said in questions():
        return Reaction("what has that to do with it ?", 2)
    if said in remedies():
        return Reaction("that did not help .", 3)
    return Reaction("what do you mean ?", 2)


def utterances() -> tuple[str, ...]:
    """All that an agent can say to some effect."""
    return (*questions(), *remedies(), SORRY, ESCALATE)
