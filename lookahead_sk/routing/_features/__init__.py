"""What is computed from texts: embeddings, lexical features, response descriptors."""
