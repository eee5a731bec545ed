"""batchgen: a night's worth of image-to-video jobs, from manifests to clips, each paid once."""

__version__ = "0.1.0"
