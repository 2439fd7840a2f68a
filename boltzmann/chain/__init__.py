"""The chain port on the bittensor SDK, and the embedded chain behind the same SDK."""
