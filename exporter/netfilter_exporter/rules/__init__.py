"""The rules of a host as a model, and what can be concluded from it: pure, no kernel, no bytes."""
