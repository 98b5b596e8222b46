"""Generators of hostile input, a module a kind.

Each has three functions: `make_base(folder)` makes what is valid, once a process; `generate(random, base, folder)`
makes one input of it, in `folder` where it is of files; `feed(case, folder)` gives that to what is tested, which may
write to `folder / "out"` only. `feed` returns where all is well: the right result, or the documented error. The same
random numbers give the same input.
"""

# Of 10,000 inputs, by what one costs
SHARES = {"images": 6000, "models": 1700, "datasets": 1300, "inference": 200, "runs": 400, "commands": 400}
