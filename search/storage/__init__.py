"""How it is kept: the database, its tables and attributes, questions, the queue, and whose a trial is."""
