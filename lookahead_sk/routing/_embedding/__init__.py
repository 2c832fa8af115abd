"""The frozen-encoder way: a small network on features of the prompt."""
