"""One create request: what the API takes, what is wrong with it in words, its identity, its body."""
