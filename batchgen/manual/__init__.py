"""The manual's pages, shipped with the program, and how a terminal shows them."""
