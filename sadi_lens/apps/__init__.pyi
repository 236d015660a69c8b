from .experiments import Experiment as Experiment
from .experiments import TaskSpec as TaskSpec
from .experiments import run_experiment as run_experiment
from .explorer.explorer import SteeringExplorer as SteeringExplorer
from .report import write_report as write_report
