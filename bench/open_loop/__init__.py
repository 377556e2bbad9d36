"""An open loop: sends that are due when a seed has said, whatever the relay does with them."""
