"""The ways in which benchmarks/overhead.py runs one and the same sweep, one file each; each is run in a process of its
own, as `python -m ways.NAME SETTING.json MEASURED.json`.
"""
