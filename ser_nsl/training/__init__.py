"""Training of light networks with labels, a graph, or the upstream's embeddings beside them."""
