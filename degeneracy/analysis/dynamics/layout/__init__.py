"""How states are laid out: shape measures of matching trials and steps."""
