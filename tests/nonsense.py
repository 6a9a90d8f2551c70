"""A metric of a user's own whose figure is no number."""

import math

from sdg.metrics.sample_metric import SampleMetric


class Nothing(SampleMetric):
    def update(self, images, conditions):
        pass

    def compute(self):
        return math.nan
