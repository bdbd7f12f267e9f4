"""`make demo`: the main job on real processes, told as a story and checked step by step.

`story` tells it; `stage` is where it plays; `pay`, `shop` and `stranger` are the programs in it, and use nothing but
what every program has: the library and the command.
"""
