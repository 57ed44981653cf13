"""Where the time of a run goes: profiles of onnxruntime, attributed to lines of the source."""
