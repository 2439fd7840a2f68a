"""Miner and validator: the window loops and what they are made of."""
