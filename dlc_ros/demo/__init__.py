"""The demo: a simulated depth camera, the node, and a checker that knows the truth."""
