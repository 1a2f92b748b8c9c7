"""Who trains: the supervisor, its worker processes, and the way of a trial through a slot."""
