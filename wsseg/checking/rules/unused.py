"""Files of the dataset's folders that are not used.

Warning about every file that may hold an image or a label map and is not used: names without the number of a channel,
other endings, label maps without an image, folders of DICOM files, incomplete downloads. Hint about other files.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsseg.checking.dataset_facts import DatasetFacts
from wsseg.checking.finding import Finding, hint, warning


def find(dataset: DatasetFacts) -> Iterator[Finding]:
    """Report each file that is not used; channels that the recipe does not read are no finding."""
    for file in dataset.unused:
        what = f"{file.reason}, so it is not used"
        if file.holds_data:
            yield warning(file.path, what, file.remedy)
        elif file.kind == "no volume":
            yield hint(file.path, what, file.remedy)
