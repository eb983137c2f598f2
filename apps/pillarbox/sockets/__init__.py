"""The sockets: the consumer, its subscriptions, and access to each of them."""
