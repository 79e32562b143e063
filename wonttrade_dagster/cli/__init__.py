"""The ``wonttrade`` command."""
