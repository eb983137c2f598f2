"""A reliable notifier for Django: changes of live models reach subscribed sockets, each once and in order."""
