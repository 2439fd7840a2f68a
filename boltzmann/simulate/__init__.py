"""A whole network in one process and in virtual time: the nodes' own code on ports in memory."""
