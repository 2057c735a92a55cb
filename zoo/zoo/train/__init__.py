"""Training: recipes, the loop, checkpoints and evaluation."""
