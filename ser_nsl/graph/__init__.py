"""From embeddings to a graph, and from graph and features to training records."""
