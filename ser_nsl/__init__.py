"""Small emotion recognisers for phones, trained with labels and a graph of similar clips.

Importing this package loads neither TensorFlow nor anything else that is heavy; import the
stage you need, such as `ser_nsl.corpora` or `ser_nsl.edge`.
"""

__version__ = "0.2.0"
