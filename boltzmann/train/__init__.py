"""The model, its gradient and its consensus state."""
