"""What a window's training took of the machine."""

from __future__ import annotations

import resource

import pytest
import torch

from boltzmann.local.plan import Plan
from boltzmann.train.gauge import Gauge
from boltzmann.train.presets import flops_per_token

RUN = Plan().run_config()
CPU = torch.device("cpu")


def test_utilisation_of_the_peak_is_operations_done_over_operations_possible() -> None:
    cost = flops_per_token(RUN.model, RUN.data.sequence_length)
    figures = Gauge(RUN, CPU, peak=cost * 1000).read(tokens=900, seconds=2.0)
    assert figures["tokens_per_s"] == 450.0
    assert figures["mfu"] == pytest.approx(0.45)


def test_what_is_not_known_is_none() -> None:
    figures = Gauge(RUN, CPU, peak=None).read(tokens=900, seconds=0.0)
    assert (figures["tokens_per_s"], figures["mfu"], figures["utilisation"]) == (None, None, None)


def test_time_spent_training_is_measured_from_reading_to_reading() -> None:
    gauge = Gauge(RUN, CPU, peak=None)
    gauge.read(tokens=1, seconds=1.0)
    assert gauge.read(tokens=1, seconds=1000.0)["utilisation"] == 1.0
    assert 0.0 < (gauge.read(tokens=1, seconds=1e-9)["utilisation"] or 0.0) < 1.0


def test_memory_of_a_processor_is_the_process_peak_in_bytes() -> None:
    memory = Gauge(RUN, CPU, peak=None).read(tokens=1, seconds=1.0)["memory_bytes"]
    assert memory is not None
    assert 50e6 < memory <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
