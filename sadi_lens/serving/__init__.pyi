from .rule import edited_span as edited_span
from .tables import SteeringTable as SteeringTable
from .tables import export_tables as export_tables
from .tables import read_tables as read_tables
