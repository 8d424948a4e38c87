"""Text of any language: its words, signs and scripts."""
