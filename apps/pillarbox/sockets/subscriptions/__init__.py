"""The subscriptions of a socket: where they start, what they are sent, and from where."""
