"""The objectives on two other iterative models; each file is an example of its own."""
