"""The three floors under one name that is ours: `tunemax.gpt` ← `tunemax.envs` ← `tunemax.search`.

The folders lie at the top of the repository; here are links to them, which an installed package has as folders.
"""
