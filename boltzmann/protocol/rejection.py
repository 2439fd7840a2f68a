"""Refusals of what peers publish: values with a named reason, to be counted and shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(str, Enum):
    """Why an object, or the work in it, was refused."""

    ABSENT = "absent"  # no object under the key by the deadline
    SLOW = "slow"  # the whole read did not end within its time
    UNREACHABLE = "unreachable"  # the bucket refused, or answered with an error
    WRONG_SIZE = "wrong_size"  # not the exact length the run's config gives
    UNCOMMITTED = "uncommitted"  # no commit object by its deadline
    BAD_COMMIT = "bad_commit"  # not the bytes that the sender's commit names
    EQUIVOCATED = "equivocated"  # the sender has signed commits to different bytes
    BAD_MAGIC = "bad_magic"
    BAD_VERSION = "bad_version"
    BAD_KIND = "bad_kind"
    BAD_HEADER = "bad_header"
    WRONG_RUN = "wrong_run"
    WRONG_WINDOW = "wrong_window"
    WRONG_BASE = "wrong_base"  # computed from another state than the agreed one
    WRONG_HOTKEY = "wrong_hotkey"
    BAD_SIGNATURE = "bad_signature"
    BAD_DIGEST = "bad_digest"
    NOT_FINITE = "not_finite"
    TOO_LARGE = "too_large"  # a value beyond the run's magnitude bound
    BAD_TOKENS = "bad_tokens"  # claims another token count than its pages have
    GATE = "gate"  # the gate ρ is below the run's threshold
    TENSOR = "tensor"  # one tensor's cosine is below the run's threshold
    NORM = "norm"  # the norm ratio is outside the run's band
    SHARES = "shares"  # the pages' shares do not add up to the delta
    BAD_DOCUMENT = "bad_document"  # a signed document that is not canonical or lacks a field


# Nothing is gained by these, and an honest sender may meet with each: they count as absence.
ABSENCES = frozenset(
    {Reason.ABSENT, Reason.SLOW, Reason.UNREACHABLE, Reason.UNCOMMITTED, Reason.WRONG_BASE}
)


@dataclass(frozen=True)
class Rejection:
    """One refusal. `detail` is for people; decisions look at `reason` only."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.value} ({self.detail})" if self.detail else self.reason.value


# What a recomputation found: another validator that recomputes the same finds the same. Of bytes it
# cannot say so: a miner may have shown it others.
RECOMPUTED = frozenset({Reason.GATE, Reason.TENSOR, Reason.NORM, Reason.BAD_TOKENS})
