from .lm_eval_files import export_lm_eval_steered as export_lm_eval_steered
from .lm_eval_files import export_lm_eval_task as export_lm_eval_task
from .lm_eval_model import SadiLM as SadiLM
