"""What this computer can: cores, memory, processes, and how they are best shared out."""
