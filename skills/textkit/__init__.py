"""A skill: counts text and reckons with calendar dates, in Chinese and English.

Deterministic and offline: it never reads the clock, a file or the network, so the same
arguments always have the same answer.
"""
