//! Our FlightService: one line per call, dispatching to the module that owns it.
