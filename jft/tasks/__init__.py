"""What is learned: the loss per example, and the metrics that belong to it."""

from jft.tasks.balance import balanced_weights as balanced_weights
from jft.tasks.balance import positive_weights as positive_weights
from jft.tasks.classification import Classification as Classification
from jft.tasks.multilabel import MultiLabel as MultiLabel
from jft.tasks.record import TASKS as TASKS
from jft.tasks.record import from_dict as from_dict
from jft.tasks.record import to_dict as to_dict
from jft.tasks.regression import Regression as Regression
from jft.tasks.segmentation import Segmentation as Segmentation
from jft.tasks.task import Task as Task
