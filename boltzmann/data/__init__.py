"""Pages, tokenizers and batches."""
