from ._planted_task import planted_task as planted_task
from ._record import LoadRecord as LoadRecord
from ._record import load_record as load_record
from ._selfcheck import SelfCheck as SelfCheck
from .known import KNOWN as KNOWN
from .known import KnownModel as KnownModel
from .loading import load_model as load_model
from .planted import planted_model as planted_model
