"""What is asked: study files, definitions, the space and its samplers, pruners, and what may change."""
