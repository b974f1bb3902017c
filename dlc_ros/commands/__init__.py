"""The commands of ``dlc-ros``, one a module: its arguments and what it does."""
