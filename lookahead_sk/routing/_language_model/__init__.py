"""The fine-tuned way: a masked or causal language model predicts the responses."""
