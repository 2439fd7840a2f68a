"""Boltzmann: incentivised, permissionless training of one model on a Bittensor subnet."""

__version__ = "0.1.0"
