"""Plug-ins to begin with: a file each, which `tunemax plugin new` copies under another name."""
