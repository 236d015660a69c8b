"""sadi_lens: find where a behaviour lives in a language model, scale exactly that, and see what it did."""
