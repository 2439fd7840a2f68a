"""The local network: a chain, an S3 server, miners, cheats and a validator on one machine."""
