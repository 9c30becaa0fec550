"""The model as a graph: recorded once, read off the program, drawn.

model function --Recorder--> RecordedModel --model_graph--> ModelGraph --> networkx, Mermaid, DOT, a picture
"""

from .model_graph import (
    ModelGraph,
    Node,
    bits_of,
    dependencies,
    family_name,
    graph,
    latent_input,
    model_graph,
    recorded_in,
    some_value,
    union,
)
from .recorder import (
    Parameter,
    RecordedModel,
    Recorder,
    as_argument,
    float32_in,
    ours_first,
    own_argument,
    record_model,
)

__all__ = [
    "ModelGraph",
    "Node",
    "Parameter",
    "RecordedModel",
    "Recorder",
    "as_argument",
    "bits_of",
    "dependencies",
    "family_name",
    "float32_in",
    "graph",
    "latent_input",
    "model_graph",
    "ours_first",
    "own_argument",
    "record_model",
    "recorded_in",
    "some_value",
    "union",
]
