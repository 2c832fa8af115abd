"""A fitted router as a folder: JSON, safetensors and a model card."""
