"""The masked and the causal approach: fine-tuned language models that foresee responses."""
