"""Text of any language: its words, the same ones for ROUGE, BM25, lexical features and cuts."""
