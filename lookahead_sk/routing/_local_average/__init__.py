"""Scores averaged over similar prompts: clusters, nearest neighbours, and the choice of them."""
