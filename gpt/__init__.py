"""What is trained: fields and configurations, softmax variants, data, the model and its trainer."""

if __name__ != "tunemax.gpt":  # a second copy of every module would be loaded
    raise ImportError("gpt: this folder is imported as tunemax.gpt; write `from tunemax import gpt`")
