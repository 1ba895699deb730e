"""The duties of the leader: bootstrapping and renewing the CA, reaping."""
