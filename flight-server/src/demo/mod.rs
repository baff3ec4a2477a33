//! The main job on real data, end to end over Flight.
