"""What people start: the command line, demo, experiments, report, explorer, lessons.

In: names, files, settings. Out: tables, pages, figures, folders. Touches: the files and folders that it is
told to write.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
