"""`prepare.py check`: what is in a data set, and which of the known faults it has.

look.py reads the samples and keeps of each what the tests need (evidence.py). A test (in apart, mirror, depth, labels,
frames) is a function from evidence to a Verdict. report.py asks them all, mend.py writes the description that they ask
for.
"""
