//! What the process itself needs: HTTP, shutdown.
