from .client import VLLMEngine as VLLMEngine
from .rule import edited_span as edited_span
from .server import launch as launch
from .tables import SteeringTable as SteeringTable
from .tables import export_tables as export_tables
from .tables import read_tables as read_tables
