"""An app whose registrations are refused."""
