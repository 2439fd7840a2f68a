"""The `boltzmann` command, one file for each verb group."""
