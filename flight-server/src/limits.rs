//! Every bound of the server, with its name and unit.
