"""The commands of a client: parsed, validated, limited and answered."""
