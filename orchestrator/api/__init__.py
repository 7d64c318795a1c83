"""The service's REST API: who may do what, over which wire. It writes wishes; the control loop acts."""
