//! Listener to running server: sockets, HTTP/2 settings, graceful drain. Shutdown is an argument.
