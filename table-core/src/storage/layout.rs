//! Every path below a root, and nothing else: no other module builds one.
