"""The durable half: notifications are captured, numbered, claimed, settled and read back."""
