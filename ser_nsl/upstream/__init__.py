"""wav2vec 2.0: load, fine-tune on the source corpus, embed the target corpus."""
