//! ServerConfig: valid settings with every default filled in.
