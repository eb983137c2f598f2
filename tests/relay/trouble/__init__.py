"""An app whose tickets hang, block or kill the process that renders them."""
