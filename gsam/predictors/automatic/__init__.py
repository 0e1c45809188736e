"""The parts of `gsam.MaskGenerator`: where to ask, what to keep of the answers, and what is told
about them.
"""
