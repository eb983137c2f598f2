"""Access: authentication, access checks, and ends of rights."""
