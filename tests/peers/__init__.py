"""The cases in which other tools lost, doubled or changed rows, for this one: what came out, and the page of it."""
