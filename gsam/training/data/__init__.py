"""Data sets for training: read from any format, checked, split and augmented.

Example:
    >>> from gsam.training.data import read
    >>> train, held_out = read("train.json", "photos").split(0.1)  # doctest: +SKIP
"""

from gsam.training.data.augmentation import augment as augment
from gsam.training.data.entries import DataSet as DataSet
from gsam.training.data.entries import Entry as Entry
from gsam.training.data.entries import Object as Object
from gsam.training.data.faults import Fault as Fault
from gsam.training.data.faults import Report as Report
from gsam.training.data.reading import check as check
from gsam.training.data.reading import read as read
from gsam.training.data.reading import read_checked as read_checked
