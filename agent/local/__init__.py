"""The services and checks registered on this agent, and what the catalog must be told of them."""
