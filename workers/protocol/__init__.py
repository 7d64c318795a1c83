"""Plain messages between a job's supervisor and its workers.

No torch and no Ray here: the control plane reads these. A worker is told what to train (`TrainJob`), who
belongs to a generation (`Membership`) and when to pause (`Hold`); it answers with events, in order, from one
outbox, and says at every look what it is doing (`Pulse`).
"""

from __future__ import annotations

from workers.protocol.events import (
    Activity,
    Broken,
    Damaged,
    Evaluated,
    Event,
    Failed,
    Fault,
    Finished,
    Formed,
    Parked,
    Pulse,
    Ready,
    Report,
    Saved,
    SaveFailing,
    SaveSkipped,
    StepDone,
    Usage,
)
from workers.protocol.job import (
    DataMixture,
    DataSource,
    EpochEnd,
    InitFrom,
    Numerics,
    Packing,
    TrainJob,
)
from workers.protocol.news import (
    Beat,
    Lost,
    Memory,
    News,
    Placed,
    Stacks,
    StandsBy,
    Vanished,
)
from workers.protocol.orders import (
    CheckpointCommitted,
    Hold,
    LeftOut,
    Membership,
    Order,
    SaveWanted,
)

#: For a worker's environment, before torch and pyarrow are imported, where it says nothing else. That a peer
#: does not answer is what workers are there to handle, and nothing to fill a terminal with. In large pages,
#: samples are read half again as fast: shuffled, each is somewhere else.
ENVIRONMENT = {"TORCH_CPP_LOG_LEVEL": "ERROR", "MIMALLOC_ALLOW_LARGE_OS_PAGES": "1"}

__all__ = [
    "ENVIRONMENT",
    "Activity",
    "Beat",
    "Broken",
    "CheckpointCommitted",
    "Damaged",
    "DataMixture",
    "DataSource",
    "EpochEnd",
    "Evaluated",
    "Event",
    "Failed",
    "Fault",
    "Finished",
    "Formed",
    "Hold",
    "InitFrom",
    "LeftOut",
    "Lost",
    "Membership",
    "Memory",
    "News",
    "Numerics",
    "Order",
    "Packing",
    "Parked",
    "Placed",
    "Pulse",
    "Ready",
    "Report",
    "SaveFailing",
    "SaveSkipped",
    "SaveWanted",
    "Saved",
    "Stacks",
    "StandsBy",
    "StepDone",
    "TrainJob",
    "Usage",
    "Vanished",
]
