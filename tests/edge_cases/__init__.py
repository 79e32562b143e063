"""The ways in which other engines lost money on this venue, each a named test; the number is the case's."""
