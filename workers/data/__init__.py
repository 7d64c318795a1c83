"""The data plane: what a data set is, where each sample goes, and how it gets there.

`manifest` is the table of a data set's blocks, written by `pack` or `index`. `order` and `schedule` say, by
arithmetic alone, which samples a virtual rank sees in a step; `mixture` and `stream` do so for several data
sets at once, `packing` for tokens, and `samples` is what a feed asks. What they answer are `runs` of rows.
`dataset` and `reader` fetch and check blocks, `gathering` cuts samples from them, `feed` turns those into
batches ahead of time, `evaluation` reads in stored order.
"""
