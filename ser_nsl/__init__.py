"""Small speech emotion recognisers for phones, trained with the help of a large speech model.

Importing this package loads neither TensorFlow nor anything else that is heavy; import the
stage you need, such as `ser_nsl.corpora` or `ser_nsl.edge`.
"""

__version__ = "0.2.0"
