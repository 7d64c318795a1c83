"""Killed everywhere: jobs whose workers or whose supervisor die at one operation of saving, then go on.

python -m tests.kills --seeds 200          # in a local folder; a failing seed prints what repeats it
python -m tests.kills --seeds 200 --s3     # in Ceph's S3 gateway
"""
