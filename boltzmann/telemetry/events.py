"""The names of the events nodes emit, and their fields: one vocabulary for nodes and dashboards.

    started   role, hotkey, uid, run, ...           the node has what it needs and takes part
    window    window, root, loss, tokens,           one window is over for this node
              seconds={phase: s}, bytes_up, bytes_down, accepted=[hotkey, ...];
              optional: tokens_per_s, sample_rate (share of the assigned sequences trained),
              utilisation (share of the window's time spent training)
    peer      window, hotkey, uid,                  what an audit said, and what follows from it
              score, gate, moving, weight
    rejected  window, hotkey, uid, reason, detail   one refusal of a peer's object or work
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
