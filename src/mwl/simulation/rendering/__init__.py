"""Pictures of a scene: by ray casting or by OpenGL, as a film, or in a live window."""
