"""`mtl-data check`: what is in a data set, and which known faults it has.

reading.py reads the samples and keeps what the tests need (statistics.py). A test (in depth, labels, normals, mirrored)
is a function from the statistics of a split to a Verdict. run.py runs them all and writes what they found.
"""
