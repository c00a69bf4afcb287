from .tflite import export_tflite

__all__ = ["export_tflite"]
