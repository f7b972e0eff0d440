"""What a training step costs beyond its network."""
