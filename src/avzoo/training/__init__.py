"""One Accelerate loop for every method of the zoo: resume, EMA, mixed precision, trackers, push to the Hub.

arguments = TrainingArguments(output_dir="out", num_epochs=5, batch_size=16)
result = train(model, train_dataset, arguments, evaluate=evaluate, processor=processor)
"""

from .arguments import TrainingArguments
from .ema import ExponentialMovingAverage
from .loop import train
from .schedules import make_schedule
from .scripts import report_errors
from .state import StepInfo, TrainingCallback, TrainingResult, TrainingState

__all__ = [
    "ExponentialMovingAverage",
    "StepInfo",
    "TrainingArguments",
    "TrainingCallback",
    "TrainingResult",
    "TrainingState",
    "make_schedule",
    "report_errors",
    "train",
]
