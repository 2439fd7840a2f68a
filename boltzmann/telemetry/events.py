"""The names of the events nodes emit, and their fields: one vocabulary for nodes and dashboards.

    started   role, hotkey, uid, run, ...           the node has what it needs and takes part
    window    window, root, loss, tokens,           one window is over for this node
              seconds={phase: s}, bytes_up, bytes_down, accepted=[hotkey, ...];
              a miner's also: sample_rate (1 if all assigned pages were trained and sent in time,
              else 0: parts do not count), tokens_per_s, mfu, utilisation, memory_bytes (see
              `boltzmann.train.gauge`); a validator's: obstacle, why it approved no update
    peer      window, hotkey, uid,                  what an audit said, and what follows from it
              score, gate, moving, debt,
              weight
    round     window, loss, audited                 a window's audits are done: the mean loss they
                                                    recomputed, and how many there were
    audited   window, hotkey, reason                one audit is done; reason "" is a pass
    rejected  window, hotkey, uid, reason, detail   one refusal of a peer's object or work
    stage     stage, window                         one named stage of a window is over
    restored  window, head                          what the node's own saved state stands at; head
                                                    "": there is none
    applied   window, root, head, parent, accepted, the state stands at an agreed update, which
              receipts=[witness, ...],              follows from these witnesses' receipts;
              bytes_down, seconds                   bytes_down 0: this node had computed it itself
    dropped   window                                an update this validator had tried out was not
                                                    agreed on, and was taken back
    undone    window, head                          an agreed window was taken back: the chain's
                                                    order is another
    abandoned window, head                          the state was given up for a checkpoint: the
                                                    chain's order leads where no undo does
    loaded    window, head, root, checkpoint,       the state was loaded from a checkpoint
              bytes_down, seconds
    behind    window, members                       how many members' work is on the state before a
                                                    manifest that came late: it is judged and paid,
                                                    but in no update
    withheld  window, detail                        a digest is on chain whose manifest cannot be
                                                    read, or of which a miner sees too few copies:
                                                    its window stays empty for now
    refused   what, holder, reason, detail          a validator's copy of an agreed object is bad
    progress  what, done, of, seconds               how far a long piece of work has come
    genesis   window, root                          this node published the run's first model
    ballot    window, leader, objection,            this validator's vote on a proposal; objection
              loss_before, loss_after               "" is approval
    proposed  window, seconds                       this validator's proposal is published
    vetoed    window, leader, objections            this node's proposal was voted down
    ordered   window, digest, block                 a manifest's digest is on chain
    checkpoint window, digest, bytes_up             an epoch's checkpoint is in the bucket
    sealed    window, seconds                       the miner's own steps before the upload
    empty     window                                nobody trusted sent a delta: no update
    unassigned window, members                      more members than places: no pages this time
    weights   block, weights={uid: weight}          weights were set on the chain
    waiting   what, seconds                         for what, and for how long already
    error     what, detail                          this node's own trouble
    stopped   reason                                the node ends

`loss` is in nats per token, `bytes_*` in bytes, `tokens` and `window` are counts, scores and gates
are cosines in [-1, 1], weights are shares. `reason` is a `protocol.rejection.Reason`. An unknown
value is None. `t` and `event` are no field names: the sinks write the time and the name there.
"""

from __future__ import annotations

STARTED = "started"
BALLOT = "ballot"
VETOED = "vetoed"
WITHHELD = "withheld"
UNDONE = "undone"
DROPPED = "dropped"
ABANDONED = "abandoned"
LOADED = "loaded"
PROGRESS = "progress"
REFUSED = "refused"
WINDOW = "window"
PEER = "peer"
REJECTED = "rejected"
WEIGHTS = "weights"
WAITING = "waiting"
ERROR = "error"
STOPPED = "stopped"
