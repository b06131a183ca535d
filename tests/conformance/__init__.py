"""One suite for every backend: the same behaviour from each, with real systems."""
