"""The discovery chain: what a request to a service goes through, compiled from config entries by one pure function."""
