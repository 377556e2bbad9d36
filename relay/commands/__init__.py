"""What people type: one file per command, imported only when that command runs."""
