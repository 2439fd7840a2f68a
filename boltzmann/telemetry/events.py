"""The names of the events nodes emit, and their fields: one vocabulary for nodes and dashboards.

    started   role, hotkey, uid, run, ...           the node has what it needs and takes part
    window    window, root, loss, tokens,           one window is over for this node
              seconds={phase: s}, bytes_up, bytes_down, accepted=[hotkey, ...];
              optional: tokens_per_s, sample_rate (share of the assigned sequences trained),
              utilisation (share of the window's time spent training)
    peer      window, hotkey, uid,                  what an audit said, and what follows from it
              score, gate, moving, weight
    round     window, loss, audited                 a window's audits are done: the mean loss they
                                                    recomputed, and how many there were
    rejected  window, hotkey, uid, reason, detail   one refusal of a peer's object or work
    applied   window, root, bytes_down, seconds     an agreed update was fetched and applied
    undone    window, head                          a window was taken back: the chain decided
                                                    otherwise
    genesis   window, root                          this node published the run's first model
    proposed  window, seconds                       the leader's own steps
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
WINDOW = "window"
PEER = "peer"
REJECTED = "rejected"
WEIGHTS = "weights"
WAITING = "waiting"
ERROR = "error"
STOPPED = "stopped"
