"""Rows of a table as one file that other programs read: each value exactly, or none of the file.

writing.py   a version of a table → a file       formats.py    what a format is, and what it cannot hold
tsv.py       PostgreSQL's COPY text format       texts.py      columns as texts
jsonlines.py one JSON object a line              crc32c.py     checksums of many rows at once
tfrecord.py  TensorFlow's records of Examples
"""
