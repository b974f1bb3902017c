"""What a robot needs around a registration: states, frames, parameters, diagnostics."""
