"""The live half: object types, the channel layer, and the sockets that subscribe."""
