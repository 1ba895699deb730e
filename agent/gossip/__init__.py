"""Who is there: membership by gossip. A core without IO (SWIM with Lifeguard), and the sockets, keys and files around it."""
