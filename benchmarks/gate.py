"""How far apart honest work and cheats are in an audit's figures, and where the thresholds lie.

    python -m benchmarks.gate [--windows 0 100 500] [--models 0.86M 3M] [--pages 8] [--samples 4]
                              [--device cpu] [--quick] [--out FILE] [--svg FILE]

Four honest members train each model for so many windows; in the `--samples` windows after each of
them, honest work is done in every way at hand, and every cheat is tried. Each upload gets a full
audit, and a spot audit of each page. Results are written after every (model, windows) pair; a
second start with the same options goes on where the first was ended, and draws what it has.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from benchmarks.gate_cases import CHEAT, ELSEWHERE, HONEST, View, cheats, saboteurs
from benchmarks.gate_figures import Audited, Limits, full_audit, spot_audit, summary
from benchmarks.gate_plot import draw_plot
from benchmarks.gate_scene import MEMBERS, MODELS, Scene, Training, gate_run, open_training
from benchmarks.gate_table import Cell, Row, cell_of, is_refused, overall, show_rows
from benchmarks.gate_ways import honest_ways
from benchmarks.machine import machine_facts
from benchmarks.runs import parameters_of
from boltzmann.node.conduct import Offer
from boltzmann.node.worker import pick_device
