"""The three floors under one name that is ours: `tunemax.gpt` ← `tunemax.envs` ← `tunemax.search`.

The folders lie at the top of the repository; here are links to them, which an installed package has as folders.
"""

import sys


def _is_being_started() -> bool:
    """Whether this is `python -m tunemax`, which is looked for just now."""
    modules = (word.removeprefix("-m").partition(".")[0] for word in sys.orig_argv)
    return sys.argv[:1] == ["-m"] and __name__ in modules


if _is_being_started() and not sys.flags.safe_path:
    # Python looks into the working directory first, for everything. What lies there is called as the user likes,
    # `queue.py` or `token.py`, and none of it is ours.
    del sys.path[0]
