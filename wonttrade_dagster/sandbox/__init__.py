"""A loopback venue and a loopback model server that the official SDKs talk to unchanged."""
